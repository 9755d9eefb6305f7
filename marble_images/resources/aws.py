"""AWS clients: dagster-aws's resources with this pipeline's time-outs, and an answer to missing settings."""

import os
import threading
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from dagster_aws.s3 import S3Resource
from dagster_aws.ssm import SSMResource
from pydantic import Field, PrivateAttr

from marble_images.errors import SettingsError
from marble_images.settings import Settings

_DEFAULT_REGION = "us-east-1"
# Threads must not share a session (boto3's guide to sessions), and they ask for SSM when they need it.
_MAKING = threading.Lock()


def _is_on_this_machine(url: str | None) -> bool:
    host = urlsplit(url).hostname if url else None
    if host is None:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=2)
def _session(_environment: frozenset[tuple[str, str]]) -> boto3.Session:
    """One for all clients: what botocore knows of all services takes a fifth of a second to load."""
    return boto3.Session()


def _client(
    service: str,
    *,
    attempts: int,
    region: str | None,
    endpoint: str | None,
    read_timeout: float = 60,
) -> Any:
    """The client of these settings and this environment: one a process, as making it takes long."""
    environment = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _made_client(service, attempts, region, endpoint, read_timeout, environment)


@lru_cache(maxsize=8)
def _made_client(
    service: str,
    attempts: int,
    region: str | None,
    endpoint: str | None,
    read_timeout: float,
    environment: frozenset[tuple[str, str]],
) -> Any:
    address = (
        endpoint
        or os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    # A server on this machine knows no accounts, but may want a signature. Any other gets a real one or none.
    session = _session(environment)
    here = _is_on_this_machine(address)
    nameless = here and session.get_credentials() is None
    credentials = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "local") if nameless else {}
    config = Config(
        connect_timeout=10,
        read_timeout=read_timeout,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=64,
        tcp_keepalive=True,
        # boto3 would read each object once more, to sign its SHA-256, as it does not see the CRC-32 that goes
        # with it. That is enough where nobody in between can change both.
        s3={"payload_signing_enabled": not (here or urlsplit(address or "https://").scheme == "https")},
    )
    with _MAKING:
        return session.client(  # type: ignore[call-overload]
            service,
            region_name=region or session.region_name or _DEFAULT_REGION,
            endpoint_url=endpoint,
            config=config,
            **credentials,
        )


class S3ClientResource(S3Resource):
    """dagster-aws's S3 resource with one client a process, time-outs, and connections for many threads."""

    max_attempts: int = Field(default=0, description="Tries of one call. 0: as S3_ATTEMPTS says")
    _made: Any = PrivateAttr(default=None)

    def get_client(self) -> Any:
        """The client; safe to share between threads."""
        if self._made is None:
            settings = Settings.load()
            self._made = _client(
                "s3",
                attempts=self.max_attempts or settings.s3_attempts,
                read_timeout=settings.s3_read_timeout,
                region=self.region_name,
                endpoint=self.endpoint_url,
            )
        return self._made


class SSMParametersResource(SSMResource):
    """Reads single SecureString parameters by their path."""

    max_attempts: int = 6

    def read(self, path: str) -> str:
        """The decrypted value of one parameter.

        Raises
        ------
        SettingsError
            There is no such parameter, it may not be read, or SSM cannot be reached; names the path.
        """
        client = _client(
            "ssm", attempts=self.max_attempts, region=self.region_name, endpoint=self.endpoint_url
        )
        try:
            return str(client.get_parameter(Name=path, WithDecryption=True)["Parameter"]["Value"])
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error")
            raise SettingsError(f"SSM parameter {path} cannot be read: {code}") from None
        except BotoCoreError as error:
            raise SettingsError(
                f"SSM parameter {path} cannot be read: {type(error).__name__}", detail=str(error)
            ) from None

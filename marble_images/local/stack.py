"""A local stack: the stand-ins in a child process, and what a pipeline needs to reach them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import MutableMapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
from botocore.config import Config

from marble_images.errors import MarbleImagesError
from marble_images.local import layout
from marble_images.local.clients import FaultControl, QueueControl
from marble_images.local.control import ControlClient, ControlError
from marble_images.local.secrets import StackSecrets
from marble_images.local.web import WebFolder

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0

# What of a person's own AWS and proxy configuration would lead calls away from the stand-ins.
_CLASHING = (
    *(
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ),
    *("AWS_CA_BUNDLE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "GRAPHQL_API_URL", "GRAPHQL_API_KEY"),
    *(f"AWS_ENDPOINT_URL_{service}" for service in ("S3", "SSM", "SNS", "ECS", "STS", "SECRETS_MANAGER")),
)


class LocalStackFailed(MarbleImagesError):
    """The stand-ins could not be started."""

    code = "local-stack"


class LocalStack:
    """All stand-ins, in one child process, for as long as the ``with`` block lasts.

    The child ends with this process, however that ends. When the stand-ins of the folder run already,
    for another process, they are used and left running.

    Parameters
    ----------
    folder
        Where the stand-ins keep their state, their ports and their secrets; made when missing.

    Attributes
    ----------
    attached
        Whether the stand-ins belong to another process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.attached = False
        self._process: subprocess.Popen[bytes] | None = None

    # --- its life --------------------------------------------------------------------------------------

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the stand-ins and wait until they answer.

        Raises
        ------
        LocalStackFailed
            They do not start; the message has the last line of their log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self._start_child(until) or self._attach():
                return
            # Those of a process that is just ending.
            time.sleep(0.2)
        raise LocalStackFailed(f"the stand-ins of {self.folder} are held by a process that does not answer")

    def stop(self) -> None:
        """Stop the stand-ins, unless they belong to another process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        try:
            process.stdin.write(b"stop\n")
            process.stdin.close()
        except OSError:
            pass
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def reset(self) -> None:
        """Empty the queue, the buckets and the web folders, and forget all commands."""
        self.control.call("reset")

    def _start_child(self, until: float) -> bool:
        command = [sys.executable, "-m", "marble_images.local", str(self.folder), str(os.getpid())]
        with (self.folder / "stack.log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches this process first, which then stops it.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=_child_environment(),
            )
        self._process = process
        try:
            said = _first_line(process, until)
        except BaseException:
            process.kill()
            self.stop()
            raise
        if said == b"ready\n":
            self._forget_addresses()
            return True
        if said is None:
            process.kill()
        status = process.wait()
        self.stop()
        if status != layout.BUSY:
            raise LocalStackFailed(f"the stand-ins did not start: {self._last_words()}")
        return False

    def _attach(self) -> bool:
        self._forget_addresses()
        if set(self.ports) != set(layout.SERVERS):
            return False
        try:
            self.control.call("ping", timeout=5)
        except (OSError, ValueError, TypeError, ControlError, requests.RequestException):
            return False
        self.attached = True
        return True

    def _forget_addresses(self) -> None:
        for name in ("ports", "secrets", "control", "s3"):
            self.__dict__.pop(name, None)

    def _last_words(self) -> str:
        lines = (self.folder / "stack.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"see {self.folder / 'stack.log'}"

    # --- what is where ---------------------------------------------------------------------------------

    @cached_property
    def ports(self) -> dict[str, int]:
        """The port of each server: appsync, aws, uri, curate, google, control."""
        return layout.read_ports(self.folder)

    @cached_property
    def secrets(self) -> StackSecrets:
        """What the stand-ins ask for."""
        return StackSecrets.load(self.folder)

    def url(self, name: str) -> str:
        """The address of one server."""
        return f"http://{layout.LOOPBACK}:{self.ports[name]}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point a pipeline at the stand-ins; no secret is among them."""
        ports = [str(self.ports[name]) for name in ("uri", "curate", "google")]
        return {
            "AWS_ENDPOINT_URL": self.url("aws"),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": layout.REGION,
            "AWS_REGION": layout.REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": layout.LOOPBACK,
            "no_proxy": layout.LOOPBACK,
            "GRAPHQL_API_URL_KEY_PATH": layout.URL_PATH,
            "GRAPHQL_API_KEY_KEY_PATH": layout.KEY_PATH,
            "GOOGLE_CREDENTIALS_KEY_PATH": layout.GOOGLE_PATH,
            "GOOGLE_DRIVE_API_URL": f"{self.url('google')}/drive/v3",
            "CURATE_HOST": f"{layout.LOOPBACK}:{self.ports['curate']}",
            "CURATE_API_TOKEN_KEY_PATH": layout.CURATE_PATH,
            "ALLOWED_SOURCE_HOSTS": layout.LOOPBACK,
            "ALLOWED_SOURCE_PORTS": ",".join(ports),
            "IMAGE_BUCKET": layout.IMAGE_BUCKET,
            "STATE_BUCKET": layout.STATE_BUCKET,
        }

    def apply(self, environ: MutableMapping[str, str]) -> None:
        """Let an environment point at the stand-ins only: set ours, drop what would lead elsewhere."""
        for name in _CLASHING:
            environ.pop(name, None)
        environ.update(self.environment)

    # --- to fill, inspect and command them ---------------------------------------------------------------

    @cached_property
    def control(self) -> ControlClient:
        """The admin endpoint."""
        return ControlClient(self.url("control"), self.secrets.admin_key)

    @property
    def appsync(self) -> QueueControl:
        """The queue."""
        return QueueControl(self.control, f"{self.url('appsync')}/graphql", self.secrets.api_key)

    @property
    def faults(self) -> FaultControl:
        """Commands to misbehave, and the log of requests."""
        return FaultControl(self.control)

    @property
    def web(self) -> WebFolder:
        """The files of Uri, Curate and Drive."""
        return WebFolder(self.folder / "web", self.url("uri"), self.url("curate"))

    @cached_property
    def s3(self) -> Any:
        """A boto3 S3 client."""
        return self.aws_client("s3")

    def aws_client(self, service: str, config: Config | None = None) -> Any:
        """A boto3 client of any AWS service that the stand-in has."""
        return layout.aws_client(service, self.url("aws"), config)

    @property
    def pyramid_folder(self) -> Path:
        """Where the image bucket's objects lie on disk, under their keys."""
        return self.folder / "s3" / layout.IMAGE_BUCKET

    @property
    def alert_topic_arn(self) -> str:
        """An SNS topic for alerts."""
        return f"arn:aws:sns:{layout.REGION}:123456789012:{layout.TOPIC}"

    def published_alerts(self) -> list[dict[str, Any]]:
        """What was published to the alert topic: ``subject`` and ``message`` of each."""
        return list(self.control.call("sns.messages"))

    def link_source(self, key: str, path: Path, content_type: str) -> str:
        """Make a file an object of the source bucket without copying it; its ETag."""
        return str(
            self.control.call(
                "s3.link",
                bucket=layout.SOURCE_BUCKET,
                key=key,
                path=str(path.resolve()),
                content_type=content_type,
                timeout=600,
            )
        )

    def require_curate_token(self, required: bool = True) -> None:
        """Let Curate refuse downloads without its API token."""
        self.control.call("curate.require_token", required=required)

    def expire_google_tokens(self) -> int:
        """Let Drive refuse every token that was given out so far; how many."""
        return int(self.control.call("google.expire_tokens"))


def _child_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    root = str(Path(__file__).parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    kept |= {"NO_PROXY": layout.LOOPBACK, "no_proxy": layout.LOOPBACK, "AWS_EC2_METADATA_DISABLED": "true"}
    kept |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    # Each of the many threads would keep memory of its own.
    kept["MALLOC_ARENA_MAX"] = "2"
    return kept


def _first_line(process: subprocess.Popen[bytes], until: float) -> bytes | None:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
    return process.stdout.readline() if readable else None

"""Names and places that the stand-ins and those who call them share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

LOOPBACK = "127.0.0.1"
REGION = "us-east-1"

IMAGE_BUCKET, STATE_BUCKET, SOURCE_BUCKET = "images", "state", "sources"
BUCKETS = (IMAGE_BUCKET, STATE_BUCKET, SOURCE_BUCKET)

URL_PATH = "/local/graphql/url"
KEY_PATH = "/local/graphql/key"
GOOGLE_PATH = "/all/marble/google/credentials"
CURATE_PATH = "/local/curate/token"
TOPIC = "marble-images-alerts"

SERVERS = ("appsync", "aws", "uri", "curate", "google", "control")

BUSY = 3
"""Exit status of the child process when another has the folder's stand-ins running."""


def aws_client(service: str, url: str, config: Config | None = None) -> Any:
    """A boto3 client of one service of the AWS stand-in, whatever the environment says."""
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(max_pool_connections=32, proxies={}).merge(config or Config()),
    )


def read_ports(folder: Path) -> dict[str, int]:
    """The ports that a folder's stand-ins had last; empty when none are known."""
    try:
        ports = json.loads((folder / "stack.json").read_text())["ports"]
        return {str(name): int(port) for name, port in ports.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}

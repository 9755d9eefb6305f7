"""The four kinds of sources as one Dagster resource."""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from marble_images.errors import SettingsError
from marble_images.resources.aws import S3ClientResource, SSMParametersResource
from marble_images.settings import Settings
from marble_images.sources import FetchSettings, HostHealth, SourceFetcher

HOST_HEALTH = HostHealth()
"""What all runs in this process know of hosts that are down."""


class SourcesResource(dg.ConfigurableResource):
    """Fetches source files from S3, the web, Curate and Google Drive; its settings are SOURCE_* and such."""

    s3: dg.ResourceDependency[S3ClientResource]
    ssm: dg.ResourceDependency[SSMParametersResource]

    def fetcher(self) -> SourceFetcher:
        """A fetcher for one run; credentials are read from SSM when a file first needs them."""
        settings = Settings.load()
        return SourceFetcher(
            FetchSettings(
                connect_timeout=settings.source_connect_timeout,
                read_timeout=settings.source_read_timeout,
                attempts=settings.source_attempts,
                backoff_initial=settings.source_backoff,
                deadline=settings.source_deadline,
                max_bytes=settings.max_source_bytes,
                gone_pause=settings.gone_pause,
                free_space_reserve=settings.free_space_reserve,
                allowed_hosts=settings.source_hosts,
                allowed_ports=settings.source_ports,
                curate_host=settings.curate_host,
                drive_api_url=settings.google_drive_api_url,
            ),
            s3_client=self.s3.get_client,
            google_credentials=lambda: self._google_credentials(settings.google_credentials_key_path),
            curate_token=lambda: self._curate_token(settings.curate_api_token_key_path),
            health=HOST_HEALTH,
        )

    def _google_credentials(self, path: str) -> Mapping[str, Any]:
        try:
            info = json.loads(self.ssm.read(path))
        except ValueError:
            raise SettingsError(f"SSM parameter {path} is not a service account's JSON") from None
        if not isinstance(info, dict):
            raise SettingsError(f"SSM parameter {path} is not a service account's JSON")
        return info

    def _curate_token(self, path: str | None) -> str | None:
        return self.ssm.read(path) if path else None

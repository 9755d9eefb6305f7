"""AppSync as a Dagster resource."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from marble_images.resources.aws import SSMParametersResource
from marble_images.settings import Settings

if TYPE_CHECKING:
    from marble_images.appsync import AppSyncQueue


class AppSyncResource(dg.ConfigurableResource):
    """The queue of files to process, behind an AppSync API."""

    ssm: dg.ResourceDependency[SSMParametersResource]
    url: str | None = Field(
        default=None, description="Default: GRAPHQL_API_URL, or the SSM parameter GRAPHQL_API_URL_KEY_PATH"
    )
    api_key: str | None = Field(
        default=None, description="Default: GRAPHQL_API_KEY, or the SSM parameter GRAPHQL_API_KEY_KEY_PATH"
    )
    read_timeout: float | None = Field(
        default=None, description="Seconds without a byte. Default: APPSYNC_READ_TIMEOUT, else 60"
    )
    attempts: int | None = Field(
        default=None, description="Tries of one call that is throttled or fails. Default: APPSYNC_ATTEMPTS"
    )

    _queue: "AppSyncQueue | None" = PrivateAttr(default=None)

    def queue(self) -> "AppSyncQueue":
        """The client, made at first use.

        Raises
        ------
        SettingsError
            The address or the key is nowhere to be found.
        """
        if self._queue is None:
            # The web server and the daemon load the definitions, and never ask AppSync.
            from marble_images.appsync import AppSyncQueue

            settings = Settings.load()
            self._queue = AppSyncQueue(
                self.url or self._setting(settings, "graphql_api_url"),
                self.api_key or self._setting(settings, "graphql_api_key"),
                read_timeout=self.read_timeout or settings.appsync_read_timeout,
                attempts=self.attempts or settings.appsync_attempts,
                backoff=settings.appsync_backoff,
            )
        return self._queue

    def _setting(self, settings: Settings, name: str) -> str:
        direct = getattr(settings, name)
        if direct:
            return direct if isinstance(direct, str) else direct.get_secret_value()
        path = getattr(settings, f"{name}_key_path")
        if not path:
            settings.require(name)
        return self.ssm.read(path)

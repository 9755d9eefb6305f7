"""Typed settings from the environment.

Nothing is read when the definitions load but the time of day and the first day: a code server without
settings still shows its assets. What a run needs and does not find is one :class:`SettingsError` that
names the variable.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from marble_images.days import DEFAULT_FIRST_DAY, is_day
from marble_images.errors import SettingsError
from marble_images.machine import memory

_GIB = 2**30
# The run's own process, with Dagster, boto3 and the buffers of its transfers.
_MEMORY_OF_THE_REST = _GIB
_LEAST_MEMORY = _GIB // 2
_MOST_MEMORY = 3 * _GIB


class Settings(BaseSettings):
    """Every setting; a field's name in capitals is its environment variable.

    The descriptions are what the README's table and the message about a missing setting say.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, allow_inf_nan=False)

    image_bucket: str | None = Field(None, description="bucket that the IIIF server reads")
    state_bucket: str | None = Field(
        None, description="bucket of the day lists, reports and failures on record; not the image bucket"
    )
    state_prefix: str = Field("marble-images/", description="prefix of all keys in the state bucket")

    graphql_api_url: str | None = Field(
        None, description="address of the AppSync API; this or GRAPHQL_API_URL_KEY_PATH is required"
    )
    graphql_api_key: SecretStr | None = Field(
        None, description="key of the AppSync API; this or GRAPHQL_API_KEY_KEY_PATH is required"
    )
    graphql_api_url_key_path: str | None = Field(
        None, description="SSM parameter that holds the address of the AppSync API"
    )
    graphql_api_key_key_path: str | None = Field(
        None, description="SSM parameter that holds the key of the AppSync API"
    )

    google_credentials_key_path: str = Field(
        "/all/marble/google/credentials", description="SSM parameter with the Google service account's JSON"
    )
    google_drive_api_url: str = Field(
        "https://www.googleapis.com/drive/v3", description="address of the Drive API"
    )
    curate_host: str = Field("curate.nd.edu", description="the one host that Curate's token is sent to")
    curate_api_token_key_path: str | None = Field(
        None, description="SSM parameter with Curate's API token; unset: none is sent"
    )
    allowed_source_hosts: str = Field(
        "", description="hosts, or host:port, that may have private addresses; separated by commas"
    )
    allowed_source_ports: str = Field(
        "", description="ports besides 80 and 443 that sources may have; separated by commas"
    )

    schedule_hour: int = Field(5, ge=0, le=23, description="hour of the daily run, by New York's clocks")
    schedule_minute: int = Field(30, ge=0, le=59, description="minute of the daily run")
    first_day: str = Field(DEFAULT_FIRST_DAY, description="first day that has a list")
    files_per_run: int = Field(
        50,
        ge=1,
        le=1000,
        description="most files in one run of the sensor's; unset, `marble-images run` takes 200",
    )

    profile: str = Field(
        "deflate", description="how pyramids are compressed: `deflate`, `jpeg`, `webp` or `zstd`"
    )
    work_folder: Path | None = Field(
        None, description="where files lie while they are worked on; unset: the system's temporary folder"
    )
    conversion_processes: int | None = Field(
        None, ge=1, description="conversions at once; unset: one for each core"
    )
    transfers: int | None = Field(
        None,
        ge=1,
        description="files fetched, converted or uploaded at once; unset: 8 for each conversion at once",
    )
    conversion_deadline: float = Field(600, gt=0, description="seconds that one conversion may take")
    conversion_memory: int | None = Field(
        None,
        ge=2**26,
        description="bytes of memory that one conversion may need; unset: its share of the machine's or the "
        "container's after 1 GiB for the rest, at most 3 GiB",
    )
    max_pixels: int = Field(2_000_000_000, ge=1, description="pixels of the largest image that is opened")
    max_source_bytes: int = Field(20 * 10**9, ge=1, description="bytes of the largest source file")
    source_connect_timeout: float = Field(10, gt=0, description="seconds to reach a source")
    source_read_timeout: float = Field(60, gt=0, description="seconds without a byte from a source")
    source_deadline: float = Field(3600, gt=0, description="seconds that one download may take")
    source_attempts: int = Field(5, ge=1, description="tries of a download in a row that bring nothing new")
    source_backoff: float = Field(
        0.5, ge=0, description="seconds of the first pause between those tries; it doubles"
    )
    free_space_reserve: int = Field(
        2**26, ge=0, description="bytes that sources leave free on the work folder's disk"
    )
    gone_pause: float = Field(5, ge=0, description="seconds between the two tries that find a source gone")
    max_removed: int = Field(20, ge=0, description="most files that one run removes from the queue")
    max_removed_fraction: float = Field(
        0.2, ge=0, le=1, description="the same as a share of the run's files, once it has ten"
    )
    max_removed_a_day: int = Field(100, ge=0, description="most files that all runs of a day (UTC) remove")

    appsync_read_timeout: float = Field(60, gt=0, description="seconds without a byte from AppSync")
    appsync_attempts: int = Field(6, ge=1, description="tries of a call of AppSync")
    appsync_backoff: float = Field(
        1, ge=0, description="seconds of the first pause between those tries; it doubles"
    )
    s3_read_timeout: float = Field(60, gt=0, description="seconds without a byte from S3")
    s3_attempts: int = Field(6, ge=1, description="tries of a call of S3")

    iiif_base_url: str | None = Field(
        None, description="address of the IIIF image server; unset: no links to it"
    )
    iiif_viewer_url: str | None = Field(
        None, description="address of a IIIF viewer, ending where the info.json's address follows; for links"
    )
    dagster_base_url: str | None = Field(
        None, description="address of the Dagster UI; unset: no links to it in alerts"
    )
    alert_topic_arn: str | None = Field(None, description="SNS topic of the daily alert; unset: no alerts")
    day_lists_kept: int = Field(400, ge=1, description="days that a stored list is kept")
    remove_retired_pyramids: bool = Field(
        False, description="whether housekeeping deletes the pyramids of files that AppSync no longer knows"
    )

    @classmethod
    def load(cls) -> Settings:
        """Read the environment.

        Raises
        ------
        SettingsError
            A variable cannot be read; the message names it and what it should be.
        """
        try:
            settings = cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]).upper() if first["loc"] else "a setting"
            raise SettingsError(f"{name} cannot be used: {first['msg']}") from None
        if not is_day(settings.first_day):
            raise SettingsError(f"FIRST_DAY cannot be used: {settings.first_day!r} is not a date YYYY-MM-DD")
        return settings

    def require(self, *names: str) -> None:
        """Check that settings are there.

        Raises
        ------
        SettingsError
            Names each variable that is missing, and what it is for.
        """
        missing = [name for name in names if getattr(self, name) in (None, "")]
        if missing:
            fields = type(self).model_fields
            raise SettingsError(
                "; ".join(f"{name.upper()} is not set ({fields[name].description})" for name in missing)
            )

    def require_pipeline(self) -> None:
        """Check that all is there that a daily run needs.

        Raises
        ------
        SettingsError
            Names each variable that is missing.
        """
        self.require("image_bucket", "state_bucket")
        for direct in ("graphql_api_url", "graphql_api_key"):
            if not getattr(self, direct) and not getattr(self, f"{direct}_key_path"):
                name = direct.upper()
                raise SettingsError(f"{name} is not set, nor {name}_KEY_PATH (the SSM parameter with it)")

    @cached_property
    def source_hosts(self) -> frozenset[str]:
        """:attr:`allowed_source_hosts` as a set."""
        return frozenset(filter(None, (host.strip() for host in self.allowed_source_hosts.split(","))))

    @cached_property
    def source_ports(self) -> frozenset[int]:
        """:attr:`allowed_source_ports` as a set.

        Raises
        ------
        SettingsError
            One of them is no port.
        """
        ports = [port.strip() for port in self.allowed_source_ports.split(",") if port.strip()]
        if not all(port.isdecimal() and len(port) <= 5 and 0 < int(port) <= 65535 for port in ports):
            raise SettingsError(
                "ALLOWED_SOURCE_PORTS cannot be used: they are numbers from 1 to 65535, separated by commas"
            )
        return frozenset(map(int, ports))

    @property
    def processes(self) -> int:
        """Conversions at once: the setting, or the cores that this process may use."""
        return self.conversion_processes or len(os.sched_getaffinity(0))

    def memory_of_one(self, processes: int) -> int:
        """Bytes that each of so many conversions at once may need: the setting, or a fair share.

        An image that needs more than its share fails with that reason, though it might have had more while
        no other was converted: a limit that depends on what else runs would fail in no way that repeats.
        """
        if self.conversion_memory is not None:
            return self.conversion_memory
        share = (memory() - _MEMORY_OF_THE_REST) // processes
        return min(max(share, _LEAST_MEMORY), _MOST_MEMORY)

    @property
    def files_in_flight(self) -> int:
        """Files that are fetched, converted or uploaded at once.

        Eight a conversion process keep it busy when each request takes 200 ms.
        """
        return self.transfers or 8 * self.processes


def required_setting(name: str) -> str:
    """The value of one setting that must be there.

    Raises
    ------
    SettingsError
        It is not set.
    """
    settings = Settings.load()
    settings.require(name)
    return str(getattr(settings, name))

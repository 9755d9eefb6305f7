"""Fetching one source file to disk, whatever kind of source it has."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from marble_images.errors import (
    SourceChecksumMismatch,
    SourceError,
    UnusableRecord,
)
from marble_images.formats import identify_file
from marble_images.models import ChangedFile, SourceFile, SourceType
from marble_images.sources.addresses import DEFAULT_PORTS, AddressGuard, WebAddress, parse_address, split_host
from marble_images.sources.deadline import Deadline
from marble_images.sources.disk import DiskBudget, FileSink
from marble_images.sources.google_drive import DriveFile, DriveToken
from marble_images.sources.health import HostHealth
from marble_images.sources.http import HttpDownload, Stated, web_refusal
from marble_images.sources.integrity import hex_md5
from marble_images.sources.lazy import Lazy
from marble_images.sources.s3 import S3Download, s3_names
from marble_images.sources.settings import FetchSettings
from marble_images.sources.web import WebClient, tls_context

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

TOKEN_HEADER = "X-Api-Token"  # noqa: S105 - the header's name


class SourceFetcher:
    """Fetches source files; one instance serves many threads and reuses its connections.

    Parameters
    ----------
    settings
        Limits and addresses.
    s3_client
        Gives the S3 client; called once, when the first S3 file is fetched.
    google_credentials
        Gives the service account's JSON; called when the first file of Drive is fetched.
    curate_token
        Gives Curate's API token, or ``None``; called once, when the first Curate file is fetched.
    health
        Which hosts are down; shared by fetchers, a run need not find out what another found.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        s3_client: Callable[[], S3Client],
        google_credentials: Callable[[], Mapping[str, Any]],
        curate_token: Callable[[], str | None],
        health: HostHealth | None = None,
    ) -> None:
        health = health or HostHealth()
        self._settings = settings
        self._s3_client = Lazy(s3_client, "the S3 client")
        self._curate_token = Lazy(curate_token, "Curate's API token")
        self._drive_token = DriveToken(google_credentials, settings)
        self._budget = DiskBudget(settings.free_space_reserve)
        self._guard = AddressGuard(settings.allowed_hosts, settings.allowed_ports)
        tls = tls_context()
        self._web = WebClient(settings, self._guard, tls, health)
        self._curate_host = split_host(settings.curate_host)
        # The API's host is the operator's choice, not a record's.
        api = urlsplit(settings.drive_api_url).netloc
        self._drive_web = WebClient(
            settings, AddressGuard(settings.allowed_hosts | {api}, settings.allowed_ports), tls, health
        )

    def fetch(self, file: ChangedFile, folder: Path) -> SourceFile:
        """Fetch a file into ``folder``, under a name of our own, and check that it is an image.

        Parameters
        ----------
        folder
            Belongs to this file alone; made if it does not exist. After an error it holds nothing.

        Raises
        ------
        SourceGone
            The source said twice that the file no longer exists.
        FileError
            Any other failure; ``reason`` is one line for people.
        """
        fetch = {
            SourceType.S3: self._from_s3,
            SourceType.URI: self._from_web,
            SourceType.CURATE: self._from_web,
            SourceType.MUSEUM: self._from_drive,
        }[file.source]
        sink = FileSink(folder, self._budget, self._settings.max_bytes)
        try:
            address, stated = self._fetched(fetch, file, sink)
            identify_file(sink.path)
            sink.close()
        except (OSError, ValueError, HTTPError, BotoCoreError) as err:
            sink.discard()
            raise SourceError("the file could not be fetched", detail=_place(err)) from None
        except BaseException:
            sink.discard()
            raise
        log.debug("fetched %s: %d bytes", address, sink.size)
        return SourceFile(
            path=sink.path,
            size=sink.size,
            sha256=sink.sha256,
            address=address,
            etag=stated.etag,
            content_type=stated.content_type,
        )

    @staticmethod
    def _fetched(
        fetch: Callable[[ChangedFile, FileSink], tuple[str, Stated]], file: ChangedFile, sink: FileSink
    ) -> tuple[str, Stated]:
        try:
            return fetch(file, sink)
        except SourceChecksumMismatch:
            # An error page in place of the file is better told as what it is.
            identify_file(sink.path)
            raise

    def _from_s3(self, file: ChangedFile, sink: FileSink) -> tuple[str, Stated]:
        bucket, key = s3_names(file.source_bucket_name, file.source_file_path)
        download = S3Download(
            self._s3_client.get(),
            bucket,
            key,
            sink,
            Deadline(self._settings.deadline),
            self._settings,
            md5=hex_md5(file.md5_checksum),
        )
        return download.address, download.run()

    def _from_web(self, file: ChangedFile, sink: FileSink) -> tuple[str, Stated]:
        if not file.source_uri or not file.source_uri.strip():
            raise UnusableRecord("the record has no sourceUri")
        address = parse_address(file.source_uri)
        token = self._curate_token.get() if file.source is SourceType.CURATE else None

        def headers(at: WebAddress, home: bool) -> dict[str, str]:
            return {TOKEN_HEADER: token} if token and home and self._is_curate(at) else {}

        download = HttpDownload(
            self._web,
            address,
            sink,
            Deadline(self._settings.deadline),
            self._settings,
            headers=headers,
            refusal=web_refusal,
            md5=hex_md5(file.md5_checksum),
        )
        return address.shown, download.run()

    def _from_drive(self, file: ChangedFile, sink: FileSink) -> tuple[str, Stated]:
        deadline = Deadline(self._settings.deadline)
        drive_file = DriveFile(file.source_uri, self._drive_token, self._settings, deadline)
        download = HttpDownload(
            self._drive_web,
            drive_file.address,
            sink,
            deadline,
            self._settings,
            headers=drive_file.headers,
            refusal=drive_file.refusal,
            md5=hex_md5(file.md5_checksum),
        )
        return f"https://drive.google.com/file/d/{drive_file.file_id}", download.run()

    def _is_curate(self, address: WebAddress) -> bool:
        host, port = self._curate_host
        allowed = self._guard.allows(address.host, address.port)
        if address.host.strip("[]") != host or (address.scheme != "https" and not allowed):
            return False
        return address.port == port if port else allowed or address.port == DEFAULT_PORTS[address.scheme]


def _place(err: Exception) -> str:
    # The kind and place of an unforeseen error; its text may hold an address with its query.
    frame = traceback.extract_tb(err.__traceback__)[-1]
    return f"{type(err).__name__} at {Path(frame.filename).name}:{frame.lineno}"

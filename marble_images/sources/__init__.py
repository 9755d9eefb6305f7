"""Fetching one source file to disk, safely: S3, web servers and Google Drive.

A plain library: :class:`SourceFetcher` is all of it that the pipeline uses.
"""

from marble_images.sources.addresses import AddressGuard, WebAddress, is_public, parse_address
from marble_images.sources.fetcher import SourceFetcher
from marble_images.sources.google_drive import drive_file_id
from marble_images.sources.health import HostHealth
from marble_images.sources.settings import FetchSettings

__all__ = [
    "AddressGuard",
    "FetchSettings",
    "HostHealth",
    "SourceFetcher",
    "WebAddress",
    "drive_file_id",
    "is_public",
    "parse_address",
]

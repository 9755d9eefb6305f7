"""Fetching from Google Drive with a service account, through the Drive API v3."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import requests
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

from marble_images.errors import (
    FileError,
    SourceForbidden,
    SourceGone,
    SourceUnavailable,
    UnusableRecord,
)
from marble_images.sources.addresses import WebAddress, parse_address
from marble_images.sources.deadline import Deadline, call_within
from marble_images.sources.http import web_refusal
from marble_images.sources.lazy import load_safely
from marble_images.sources.retry import TryAgain, Why, retry_after
from marble_images.sources.settings import FetchSettings
from marble_images.sources.web import Answer

if TYPE_CHECKING:
    from google.oauth2.service_account import Credentials

SCOPE = "https://www.googleapis.com/auth/drive.readonly"

_HOSTS = ("google.com", "googleapis.com", "googleusercontent.com")
_ID = re.compile(r"[A-Za-z0-9_-]{5,200}")
_IN_PATH = re.compile(r"/(?:d|files)/([^/]+)(?:/|$)")
_TOKENS = "Google's token server"
_RATE_LIMITS = {"rateLimitExceeded", "userRateLimitExceeded"}
_REASON = re.compile(r"[A-Za-z_]{1,64}")


def drive_file_id(uri: str | None) -> str:
    """The file id in any form of Drive URL.

    Raises
    ------
    UnusableRecord
        It is no URL of a Drive file.
    """
    if not uri or not uri.strip():
        raise UnusableRecord("the record has no sourceUri")
    try:
        parts = urlsplit(uri.strip())
        host = parts.hostname or ""
    except ValueError:
        raise UnusableRecord("the sourceUri is no web address") from None
    if not any(host == known or host.endswith(f".{known}") for known in _HOSTS):
        raise UnusableRecord("the sourceUri is no address of Google Drive")
    in_path = _IN_PATH.search(parts.path)
    named = [in_path.group(1)] if in_path else parse_qs(parts.query).get("id", [])
    if len(named) != 1 or not _ID.fullmatch(named[0]):
        raise UnusableRecord("the sourceUri names no file of Google Drive")
    return named[0]


def resource_key(uri: str) -> str | None:
    """The key that links to some older shared files carry (``resourcekey=``)."""
    keys = parse_qs(urlsplit(uri.strip()).query).get("resourcekey", [])
    return keys[0] if len(keys) == 1 and _ID.fullmatch(keys[0]) else None


class DriveToken:
    """The access token of one service account, shared by all threads, renewed by one of them.

    Parameters
    ----------
    load
        Gives the service account's JSON when it is first needed, and again after Google refused it.
    """

    def __init__(self, load: Callable[[], Mapping[str, Any]], settings: FetchSettings) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._settings = settings

    def get(self, refused: str | None = None) -> str:
        """A token that is valid now, and is another than ``refused``.

        Raises
        ------
        TryAgain
            The token server could not be reached or is failing.
        SourceForbidden
            The credentials cannot be used, or Google refuses them.
        """
        with self._lock:
            credentials = self._credentials or self._loaded()
            if not credentials.valid or credentials.token == refused:
                self._refresh(credentials)
            self._credentials = credentials
            return str(credentials.token)

    @cached_property
    def _request(self) -> Callable[..., Any]:
        from google.auth.transport.requests import Request

        session = requests.Session()
        session.trust_env = False
        timeout = (self._settings.connect_timeout, self._settings.read_timeout)
        return partial(Request(session), timeout=timeout, allow_redirects=False)

    def _loaded(self) -> Credentials:
        # Slow to import, for its cryptography, and needed by the files of Drive alone.
        from google.oauth2.service_account import Credentials

        info = load_safely(self._load, "the Google service account's credentials")
        try:
            return Credentials.from_service_account_info(info, scopes=[SCOPE])
        # What a library says about a secret may hold a part of it: only the kind of error is told.
        except (ValueError, TypeError, KeyError, AttributeError, GoogleAuthError) as err:
            raise SourceForbidden(
                "the Google service account's credentials cannot be used", detail=type(err).__name__
            ) from None

    def _refresh(self, credentials: Credentials) -> None:
        self._credentials = None
        try:
            credentials.refresh(self._request)
        except TransportError as err:
            raise TryAgain(
                SourceUnavailable(f"{_TOKENS} cannot be reached", detail=type(err).__name__), outage=_TOKENS
            ) from None
        except RefreshError as err:
            if err.retryable:
                raise TryAgain(SourceUnavailable(f"{_TOKENS} is failing"), outage=_TOKENS) from None
            raise SourceForbidden("Google refuses the service account's credentials") from None
        except (GoogleAuthError, ValueError, TypeError, KeyError, AttributeError) as err:
            # google-auth does not expect an answer that is no JSON object.
            raise TryAgain(
                SourceUnavailable("Google's token server gives no token", detail=type(err).__name__)
            ) from None


class DriveFile:
    """One file of Drive: its address, the headers of a request for it, and what answers mean."""

    def __init__(
        self, uri: str | None, token: DriveToken, settings: FetchSettings, deadline: Deadline
    ) -> None:
        self._deadline = deadline
        self.file_id = drive_file_id(uri)
        self.address = parse_address(
            f"{settings.drive_api_url.rstrip('/')}/files/{self.file_id}?alt=media&supportsAllDrives=true",
            "the address of the Drive API",
        )
        self._key = resource_key(uri or "")
        self._token = token
        self._sent: str | None = None
        self._refused: str | None = None
        self._renewed = False

    def headers(self, address: WebAddress, home: bool) -> dict[str, str]:
        """The token, for the API's own host only."""
        if not home or address.authority != self.address.authority:
            return {}
        refused = self._refused
        self._sent = call_within(self._deadline, _TOKENS, lambda: self._token.get(refused=refused))
        headers = {"Authorization": f"Bearer {self._sent}"}
        if self._key:
            headers["X-Goog-Drive-Resource-Keys"] = f"{self.file_id}/{self._key}"
        return headers

    def refusal(self, answer: Answer) -> FileError | TryAgain:
        """What an answer of the API that is no file means (Drive API, "Resolve errors")."""
        status, host = answer.status, answer.address.host
        if status not in (401, 403, 404):
            return web_refusal(answer)
        reasons = _error_reasons(answer.small_body())
        why = ", ".join(sorted(reasons)) or "no reason given"
        said = f"Google Drive answered HTTP {status} ({why})"
        detail = f"file {self.file_id} at {host}"
        if status == 401:
            return self._unauthorized(said, detail)
        if status == 404 and "notFound" in reasons and answer.address.authority == self.address.authority:
            return TryAgain(
                SourceUnavailable(f"{said}, which a second try did not confirm", detail=detail),
                Why.GONE,
                confirmed=SourceGone(f"{said} twice: the file no longer exists", detail=detail),
            )
        if status == 404:
            return SourceUnavailable(f"{said}: it does not say that the file is not found", detail=detail)
        if reasons & _RATE_LIMITS:
            return TryAgain(
                SourceUnavailable(f"{said}: it is asked too often", detail=detail),
                after=retry_after(answer.response.headers.get("Retry-After")),
            )
        return SourceForbidden(f"{said}: it refuses to give the file", detail=detail)

    def _unauthorized(self, said: str, detail: str) -> FileError | TryAgain:
        forbidden = SourceForbidden(f"{said}: it refuses the service account", detail=detail)
        if self._renewed:
            return forbidden
        # A token can be revoked before it expires: one new one, once.
        self._renewed, self._refused = True, self._sent
        return TryAgain(forbidden, Why.LOGIN)


def _error_reasons(body: bytes) -> set[str]:
    try:
        error = json.loads(body)["error"]
        listed = [*error.get("errors", []), *error.get("details", [])]
        found = [item.get("reason") for item in listed]
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()
    return {reason for reason in found if isinstance(reason, str) and _REASON.fullmatch(reason)}

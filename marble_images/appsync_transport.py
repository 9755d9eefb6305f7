"""One GraphQL request to AppSync and its answer: time-outs, retries, and what each failure is called.

gql's synchronous sessions must not be shared by threads, so every thread gets one of its own, which
keeps its connection open from call to call.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from gql import Client, GraphQLRequest
from gql.client import SyncClientSession
from gql.transport.exceptions import TransportConnectionFailed, TransportError, TransportQueryError
from gql.transport.requests import RequestsHTTPTransport
from graphql import DocumentNode, parse
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
)
from tenacity.wait import wait_exponential, wait_random
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from marble_images.appsync_http import WatchedAdapter
from marble_images.errors import QueueError, QueueRefused, QueueUnavailable, SettingsError, one_line
from marble_images.watchdog import Watchdog

_log = logging.getLogger(__name__)

UNANSWERED_IN_A_ROW = 2
"""Calls in a row that failed in all their tries, after which each call gets one until one succeeds."""

_RETRIED_STATUS = frozenset({408, 425, 429})
_LONGEST_RETRY_AFTER = 120.0

# AppSync names its own and its data sources' passing failures in errorType, in many spellings.
_PASSING_TYPE = re.compile(
    r"throttl|too_?many|limit_?exceeded|throughput|internal|unavailable|time_?(d_?)?out|bad_?gateway", re.I
)
_PASSING_MESSAGE = re.compile(
    r"throttled|rate exceeded|too many requests|timed out|internal (server )?(error|failure)", re.I
)
_REFUSING_TYPE = re.compile(r"unauthori[sz]ed|unauthenticated|forbidden|waf|access_?denied", re.I)


class AnswerErrors(QueueError):
    """AppSync answered, and its answer holds GraphQL ``errors``, with or without data.

    Attributes
    ----------
    passing
        Every one of them is throttling or an internal failure, which another try may not meet.
    """

    def __init__(self, reason: str, *, detail: str | None = None, passing: bool = False) -> None:
        super().__init__(reason, detail=detail)
        self.passing = passing


class QueueThrottled(QueueUnavailable):
    """AppSync asks for a pause.

    Attributes
    ----------
    retry_after
        Seconds to wait, as the answer's ``Retry-After`` says.
    """

    def __init__(self, reason: str, *, detail: str | None = None, retry_after: float) -> None:
        super().__init__(reason, detail=detail)
        self.retry_after = retry_after


class AppSyncTransport:
    """Calls AppSync from any number of threads; see ``AppSyncQueue`` for the parameters."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        connect_timeout: float,
        read_timeout: float,
        deadline_seconds: float,
        attempts: int,
        patience: float,
        backoff: float,
        longest_backoff: float,
    ) -> None:
        self.url = _checked_url(url)
        self._api_key = _checked_key(api_key)
        self._timeout = (connect_timeout, read_timeout)
        self._deadline = deadline_seconds
        self._attempts = attempts
        self._patience = patience
        self._backoff = wait_exponential(multiplier=backoff, max=longest_backoff) + wait_random(0, backoff)
        self._local = threading.local()
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._unanswered = 0

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    def call(
        self,
        document: str,
        variables: Mapping[str, Any],
        *,
        before_retry: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """The ``data`` of the answer to one operation, retried while the failure may pass.

        Parameters
        ----------
        before_retry
            Called before every try but the first; what it raises ends the tries.

        Raises
        ------
        QueueRefused
            The API key is refused; never retried.
        QueueUnavailable
            No answer, or throttling or internal failures only, after all tries.
        AnswerErrors
            The answer holds other GraphQL errors; not retried.
        QueueError
            The answer is none that AppSync gives.
        """
        request = GraphQLRequest(_parsed(document), variable_values=dict(variables))
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts) | stop_after_delay(self._patience),
            wait=self._pause,
            retry=retry_if_exception(self._worth_another_try),
            before_sleep=self._report_retry,
            reraise=True,
        )
        tries = 0

        def once() -> dict[str, Any]:
            nonlocal tries
            tries += 1
            if tries > 1 and before_retry is not None:
                before_retry()
            return self._once(request)

        try:
            answer = retrying(once)
        except (AnswerErrors, QueueThrottled):
            raise
        except QueueUnavailable:
            self._note(answered=False)
            raise
        self._note(answered=True)
        return answer

    def _worth_another_try(self, error: BaseException) -> bool:
        # Hundreds of files that each wait for all tries would take hours to say the same.
        with self._lock:
            down = self._unanswered >= UNANSWERED_IN_A_ROW
        return _may_pass(error) and not down

    def _note(self, *, answered: bool) -> None:
        with self._lock:
            self._unanswered = 0 if answered else self._unanswered + 1

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            clients, self._clients = list(self._clients), weakref.WeakSet()
            self._local = threading.local()
        for client in clients:
            client.close_sync()

    def _once(self, request: GraphQLRequest) -> dict[str, Any]:
        session = self._session()
        with Watchdog(self._deadline) as watch:
            try:
                return session.execute(request)
            except TransportQueryError as error:
                raise self._answer_errors(error.errors) from None
            except TransportConnectionFailed as error:
                raise self._no_answer(error.__cause__ or error, expired=watch.expired) from None
            except TransportError as error:
                raise self._no_answer(error, expired=watch.expired) from None

    def _session(self) -> SyncClientSession:
        session: SyncClientSession | None = getattr(self._local, "session", None)
        if session is None:
            transport = RequestsHTTPTransport(
                self.url,
                headers={"x-api-key": self._api_key, "Accept": "application/json"},
                timeout=cast("int", self._timeout),
                json_deserialize=_graphql_answer,
                hooks={"response": self._check_status},
                # The key would go along to wherever a redirect leads.
                allow_redirects=False,
            )
            client = Client(transport=transport)
            session = cast("SyncClientSession", client.connect_sync())
            http = cast("requests.Session", transport.session)
            http.mount("https://", WatchedAdapter())
            http.mount("http://", WatchedAdapter())
            self._local.session = session
            with self._lock:
                self._clients.add(client)
        return session

    def _check_status(self, response: requests.Response, *_: Any, **__: Any) -> None:
        # gql overlooks the status of an answer that is JSON, as AppSync's refusals are.
        response.encoding = "utf-8"
        status = response.status_code
        if 200 <= status < 300:
            return
        said = self._scrub(_said(response))
        if status in (401, 403):
            raise QueueRefused(f"AppSync at {self.host} refused the API key (HTTP {status}{said})")
        if status in _RETRIED_STATUS or status >= 500:
            reason = f"AppSync at {self.host} answered HTTP {status}{said}"
            pause = _retry_after(response)
            if pause is None:
                raise QueueUnavailable(reason)
            raise QueueThrottled(reason, retry_after=pause)
        if 300 <= status < 400:
            raise QueueError(
                f"AppSync at {self.host} redirects (HTTP {status}); the key is sent to no other address"
            )
        raise QueueError(f"AppSync at {self.host} answered HTTP {status}{said}")

    def _no_answer(self, error: BaseException, *, expired: bool) -> QueueError:
        if isinstance(error, QueueError):
            return error
        detail = self._scrub(one_line(f"{type(error).__name__}: {error}"))
        where = f"AppSync at {self.host}"
        if expired:
            return QueueUnavailable(
                f"{where} did not finish its answer in {self._deadline:g} s", detail=detail
            )
        if isinstance(error, TransportError):
            reason = f"{where} answered with something that is no GraphQL answer"
        elif isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            return QueueError(f"{where} has a certificate that is not trusted", detail=detail)
        elif isinstance(error, requests.ConnectTimeout):
            reason = f"{where} could not be reached in {self._timeout[0]:g} s"
        elif isinstance(error, requests.Timeout):
            reason = f"{where} did not answer in {self._timeout[1]:g} s"
        elif isinstance(error, requests.exceptions.ChunkedEncodingError):
            reason = f"{where} broke off its answer"
        elif isinstance(error, (requests.ConnectionError, OSError)) and not isinstance(error, ValueError):
            reason = f"{where} could not be reached"
        else:
            return QueueError(f"{where} could not be asked", detail=detail)
        return QueueUnavailable(reason, detail=detail)

    def _answer_errors(self, errors: object) -> QueueError:
        listed = errors if isinstance(errors, list) else [errors]
        kinds = [_kind(error) for error in listed]
        first = self._scrub(_one_error(listed[0]))
        more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
        detail = self._scrub(one_line(json.dumps(listed, default=str), 2000))
        if "refusing" in kinds:
            return QueueRefused(f"AppSync at {self.host} refused: {first}{more}", detail=detail)
        passing = all(kind == "passing" for kind in kinds)
        return AnswerErrors(f"AppSync answered with an error: {first}{more}", detail=detail, passing=passing)

    def _scrub(self, text: str) -> str:
        return text.replace(self._api_key, "***")

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        pause = self._backoff(state)
        return max(pause, error.retry_after) if isinstance(error, QueueThrottled) else pause

    def _report_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        _log.warning("%s; try %d of %d in %.1f s", error, state.attempt_number + 1, self._attempts, pause)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, QueueThrottled):
        return error.retry_after <= _LONGEST_RETRY_AFTER
    return isinstance(error, QueueUnavailable) or (isinstance(error, AnswerErrors) and error.passing)


def _checked_url(url: str) -> str:
    text = url.strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("GRAPHQL_API_URL: the AppSync URL is not of the form https://host/graphql")
    return text


def _checked_key(api_key: str) -> str:
    text = api_key.strip()
    # The HTTP libraries quote a header that they refuse, so it must not come that far.
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise SettingsError("GRAPHQL_API_KEY: the AppSync API key is empty or has characters that no key has")
    return text


@lru_cache(maxsize=64)
def _parsed(document: str) -> DocumentNode:
    return parse(document)


def _json_object(text: str) -> dict[str, Any]:
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise TypeError("a GraphQL answer is a JSON object")
    return answer


def _graphql_answer(text: str) -> dict[str, Any]:
    answer = _json_object(text)
    if not answer.get("errors") and not isinstance(answer.get("data"), dict):
        raise TypeError("a GraphQL answer has data or errors")
    return answer


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After")
    try:
        return None if value is None else Retry().parse_retry_after(value.strip())
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _said(response: requests.Response) -> str:
    """What a refusal says of itself, ready to be put behind its status."""
    try:
        errors = _json_object(response.text).get("errors")
    except (ValueError, TypeError, RecursionError):
        return f" {one_line(response.reason or '', 60)}".rstrip()
    except requests.RequestException:
        return ""
    return f", {_one_error(errors[0])}" if isinstance(errors, list) and errors else ""


def _error_type(error: Mapping[str, Any]) -> str:
    extensions = error.get("extensions")
    inner = extensions if isinstance(extensions, dict) else {}
    return str(error.get("errorType") or inner.get("errorType") or inner.get("code") or "")


def _kind(error: object) -> str:
    if not isinstance(error, dict):
        return "other"
    named = _error_type(error)
    if _REFUSING_TYPE.match(named):
        return "refusing"
    if _PASSING_TYPE.search(named) or (not named and _PASSING_MESSAGE.search(str(error.get("message")))):
        return "passing"
    return "other"


def _one_error(error: object) -> str:
    if not isinstance(error, dict):
        return one_line(str(error), 200)
    named = _error_type(error)
    message = one_line(str(error.get("message") or "no message"), 200)
    path = error.get("path")
    place = f" at {'/'.join(str(part) for part in path)}" if isinstance(path, list) and path else ""
    return f"{named}: {message}{place}" if named else f"{message}{place}"

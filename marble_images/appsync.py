"""The queue of files to process: a client of its AppSync API.

A listing is whole or it fails, an answer with ``errors`` is a failure whatever came with it, and both
mutations may be sent twice without harm, so all calls are retried alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from marble_images.appsync_listing import Gathered, Listing, SkippedRecord, read_page
from marble_images.appsync_transport import AnswerErrors, AppSyncTransport
from marble_images.errors import (
    FileError,
    FileQueueError,
    QueueError,
    QueueRefused,
    QueueUnavailable,
    RecordMissing,
)
from marble_images.models import GRAPHQL_FIELDS, ChangedFile, fold_id

__all__ = ["AppSyncQueue", "Listing", "SkippedRecord"]

_FIELDS = " ".join(GRAPHQL_FIELDS)

_LIST = f"""query ListFiles($dateLastProcessedBefore: String, $limit: Int, $nextToken: String) {{
  listFilesToProcess(
    dateLastProcessedBefore: $dateLastProcessedBefore, limit: $limit, nextToken: $nextToken
  ) {{ items {{ {_FIELDS} }} nextToken }}
}}"""

_MARK = f"""mutation MarkProcessed($itemId: String!, $height: Int, $width: Int) {{
  saveFileLastProcessedDate(itemId: $itemId, height: $height, width: $width) {{ {_FIELDS} }}
}}"""

_REMOVE = """mutation Remove($itemId: String!) {
  removeItemToProcess(itemId: $itemId) { recordsDeleted }
}"""

# Aliased fields of one request; each is one read of a DynamoDB item.
_BATCH = 25


class AppSyncQueue:
    """The files to process, as AppSync keeps them. May be used from many threads at once.

    Parameters
    ----------
    url, api_key
        Of the GraphQL API. Surrounding blanks are dropped. The key appears in no message.
    connect_timeout, read_timeout
        Seconds to connect, and seconds without a byte.
    deadline
        Seconds that one request may take in all, however steadily its answer drips.
    attempts
        Tries a request, the first included.
    patience
        Seconds after which a failed request is not tried again, whatever tries are left.
    backoff, longest_backoff
        Seconds before the second try, doubled with each and up to ``backoff`` more by chance; and the
        most. A ``Retry-After`` of up to 120 s is honoured where it is longer; one beyond ends the tries.
    page_limit
        Records asked for in one page of a listing.
    longest_listing
        Pages after which a listing is taken to be endless.
    most_barren_pages
        Pages in a row without a new record, after which a listing is taken to be endless.

    Raises
    ------
    SettingsError
        The URL or the key cannot be one.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        connect_timeout: float = 10,
        read_timeout: float = 60,
        deadline: float = 180,
        attempts: int = 6,
        patience: float = 300,
        backoff: float = 1.0,
        longest_backoff: float = 60,
        page_limit: int = 1000,
        longest_listing: int = 20_000,
        most_barren_pages: int = 1000,
    ) -> None:
        self._transport = AppSyncTransport(
            url,
            api_key,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            deadline_seconds=deadline,
            attempts=attempts,
            patience=patience,
            backoff=backoff,
            longest_backoff=longest_backoff,
        )
        self._page_limit = page_limit
        self._longest_listing = longest_listing
        self._most_barren_pages = most_barren_pages

    def __repr__(self) -> str:
        return f"AppSyncQueue({self._transport.host!r})"

    def __enter__(self) -> AppSyncQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self._transport.close()

    def list_files(self, *, processed_before: str | None = None) -> Listing:
        """All files that wait and, if asked, those last processed at or before a date.

        Parameters
        ----------
        processed_before
            ISO 8601 date, compared as text: ``"9999"`` gives every file.

        Raises
        ------
        QueueRefused, QueueUnavailable, QueueError
            A page failed, or the pages do not end: there is no shorter list.
        """
        started = time.monotonic()
        gathered = Gathered()
        variables: dict[str, Any] = {"limit": self._page_limit}
        if processed_before is not None:
            variables["dateLastProcessedBefore"] = processed_before
        tokens: set[str] = set()
        pages = barren = 0
        while True:
            items, token = read_page(self._call(_LIST, variables))
            pages += 1
            barren = 0 if gathered.add(items, page=pages) else barren + 1
            if not token:
                break
            if token in tokens:
                raise QueueError(f"AppSync gave the same nextToken twice (page {pages} of the listing)")
            if pages >= self._longest_listing or barren >= self._most_barren_pages:
                raise QueueError(f"AppSync's listing does not end: stopped after {pages} pages")
            tokens.add(token)
            variables["nextToken"] = token
        files = list(gathered.files.values())
        return Listing(files, gathered.skipped, pages, time.monotonic() - started)

    def get_record(self, file_path: str) -> ChangedFile | None:
        """The file's record as it is now, or ``None`` if there is none.

        Raises
        ------
        QueueRefused
            The API key is refused: this is about the run, not the file.
        FileQueueError
            AppSync failed in every try, or answered with the record of another file.
        UnusableRecord
            There is a record, but it has neither ``filePath`` nor ``id``.
        """
        with _about(file_path):
            answer = self._call(_batch_document(1), {"f0": file_path})
        return _record(answer, "r0", file_path)

    def get_records(self, file_paths: Iterable[str]) -> dict[str, ChangedFile | FileError | None]:
        """The files' records as they are now, many to a request.

        Each value is what ``get_record`` returns or the ``FileError`` that it raises: a record that
        AppSync cannot serve spoils no other.

        Raises
        ------
        QueueRefused
            The API key is refused.
        """
        wanted = list(dict.fromkeys(file_paths))
        found: dict[str, ChangedFile | FileError | None] = {}
        for start in range(0, len(wanted), _BATCH):
            found |= self._get_batch(wanted[start : start + _BATCH])
        return found

    def mark_processed(
        self,
        item_id: str,
        *,
        height: int,
        width: int,
        before_retry: Callable[[], None] | None = None,
    ) -> ChangedFile:
        """Mark a file as processed, with the size of its pyramid, and return its record.

        Parameters
        ----------
        item_id
            The record's ``filePath``: AppSync finds the record by it.
        height, width
            Pixels. AppSync overwrites with null what is left out, so both are needed.
        before_retry
            Called before every try but the first, as the record may be rewritten between them; what it
            raises ends the tries.

        Raises
        ------
        QueueRefused
            The API key is refused.
        RecordMissing
            There was no record. AppSync has now created one that is nearly empty.
        FileQueueError
            AppSync failed in every try, or its answer is not of this file and size.
        """
        for size in (height, width):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"height and width are whole numbers of pixels, not {size!r}")
        with _about(item_id):
            answer = self._call(
                _MARK, {"itemId": item_id, "height": height, "width": width}, before_retry=before_retry
            )
        marked = answer.get("saveFileLastProcessedDate")
        if not isinstance(marked, dict):
            raise FileQueueError("AppSync did not confirm that the file is marked as processed")
        named = _names(marked)
        if not named:
            raise RecordMissing("AppSync had no record of the file to mark as processed")
        _check_names(named, item_id)
        if (marked.get("height"), marked.get("width")) != (height, width):
            stored = f"{marked.get('width')} x {marked.get('height')}"
            raise FileQueueError(f"AppSync stored {stored} pixels, not {width} x {height}")
        return ChangedFile.from_record(marked)

    def remove(self, item_id: str, *, before_retry: Callable[[], None] | None = None) -> bool:
        """Take a file off the queue.

        Parameters
        ----------
        item_id
            The record's ``filePath``.
        before_retry
            As in :meth:`mark_processed`.

        Returns
        -------
        bool
            Whether AppSync had a record to remove; false, too, when a first try removed it and only
            its answer was lost.

        Raises
        ------
        QueueRefused
            The API key is refused.
        FileQueueError
            AppSync failed in every try.
        """
        with _about(item_id):
            answer = self._call(_REMOVE, {"itemId": item_id}, before_retry=before_retry)
        if "removeItemToProcess" not in answer:
            raise FileQueueError("AppSync did not confirm that the file is removed from the queue")
        return answer["removeItemToProcess"] is not None

    def _call(
        self,
        document: str,
        variables: Mapping[str, Any],
        *,
        before_retry: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        try:
            return self._transport.call(document, variables, before_retry=before_retry)
        except AnswerErrors as error:
            kind = QueueUnavailable if error.passing else QueueError
            raise kind(error.reason, detail=error.detail) from None

    def _get_batch(self, wanted: Sequence[str]) -> dict[str, ChangedFile | FileError | None]:
        variables = {f"f{n}": file_path for n, file_path in enumerate(wanted)}
        try:
            answer = self._transport.call(_batch_document(len(wanted)), variables)
        except QueueRefused:
            raise
        except AnswerErrors:
            return {file_path: self._result(file_path) for file_path in wanted}
        except QueueError as error:
            # Nothing was answered: asking for each would only multiply the waiting.
            return {file_path: _of_file(error) for file_path in wanted}
        return {file_path: _attempt_record(answer, f"r{n}", file_path) for n, file_path in enumerate(wanted)}

    def _result(self, file_path: str) -> ChangedFile | FileError | None:
        try:
            return self.get_record(file_path)
        except FileError as error:
            return error


def _batch_document(count: int) -> str:
    variables = ", ".join(f"$f{n}: String!" for n in range(count))
    fields = "\n".join(
        f"  r{n}: getFileToProcessRecord(filePath: $f{n}) {{ {_FIELDS} }}" for n in range(count)
    )
    return f"query Records({variables}) {{\n{fields}\n}}"


def _record(answer: Mapping[str, Any], alias: str, file_path: str) -> ChangedFile | None:
    if alias not in answer:
        raise FileQueueError("AppSync's answer leaves out the file's record")
    record = answer[alias]
    if record is None:
        return None
    if not isinstance(record, dict):
        raise FileQueueError("AppSync's answer for the file is no record")
    file = ChangedFile.from_record(record)
    _check_names(_names(record), file_path)
    return file


def _attempt_record(answer: Mapping[str, Any], alias: str, file_path: str) -> ChangedFile | FileError | None:
    try:
        return _record(answer, alias, file_path)
    except FileError as error:
        return error


def _names(record: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in (record.get("filePath"), record.get("id")) if name]


def _check_names(names: Sequence[str], file_path: str) -> None:
    if fold_id(file_path) not in [fold_id(name) for name in names]:
        raise FileQueueError(f"AppSync answered with another file's record: {names[0]!r}")


def _of_file(error: QueueError) -> FileQueueError:
    return FileQueueError(error.reason, detail=error.detail)


@contextmanager
def _about(file_path: str) -> Iterator[None]:
    """Turn a failure of the queue into one of the file; a refused key remains the run's."""
    try:
        yield
    except QueueRefused:
        raise
    except QueueError as error:
        raise FileQueueError(error.reason, detail=error.detail or f"asked for {file_path!r}") from None

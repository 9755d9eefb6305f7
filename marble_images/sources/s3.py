"""Fetching from S3: one object, pinned to its ETag, resumed where it broke, checked when it is there."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from urllib3.exceptions import HTTPError

from marble_images.errors import (
    FileError,
    SourceChecksumMismatch,
    SourceError,
    SourceForbidden,
    SourceGone,
    SourceIncomplete,
    SourceTimeout,
    SourceUnavailable,
    UnusableRecord,
    one_line,
)
from marble_images.sources.deadline import Deadline, call_within
from marble_images.sources.disk import FileSink
from marble_images.sources.http import Stated
from marble_images.sources.integrity import etag_md5
from marble_images.sources.retry import TryAgain, Why, keep_trying
from marble_images.sources.settings import FetchSettings
from marble_images.watchdog import Watchdog

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

# botocore hands out whole reads only, and loses what a broken one had got.
_READ = 256 * 1024
_REFUSED = {401, 403}
_CREDENTIALS = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"}
_UNUSABLE = {"KeyTooLongError", "InvalidBucketName", "InvalidURI"}


class S3Download:
    """One object's download, with all its tries.

    Parameters
    ----------
    client
        Retries single calls by itself (throttling, 5xx, connection errors); what breaks in the middle of a
        body is resumed here.
    md5
        Of the record, hexadecimal, if it has one.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        key: str,
        sink: FileSink,
        deadline: Deadline,
        settings: FetchSettings,
        *,
        md5: str | None,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._sink = sink
        self._deadline = deadline
        self._settings = settings
        self._md5 = md5
        self._first: GetObjectOutputTypeDef | None = None
        self._resumed = False

    @property
    def address(self) -> str:
        """The object's ``s3://`` address, on one line."""
        return one_line(f"s3://{self._bucket}/{self._key}", 2000)

    def run(self) -> Stated:
        """Fetch the object into the sink.

        Raises
        ------
        FileError
            It could not be had; the reason is one line.
        """
        return keep_trying(self._once, self._settings, self._deadline, lambda: self._sink.size)

    def _once(self) -> Stated:
        self._deadline.check("S3")
        pinned = self._rest()
        answer = self._open(pinned)
        body = answer["Body"]
        try:
            self._accept(answer, resumed=bool(pinned))
            with Watchdog(self._deadline.remaining) as watchdog:
                # botocore's stream has no way to be stopped from outside; the urllib3 response in it has.
                watchdog.watch(body._raw_stream.shutdown)  # type: ignore[attr-defined]
                self._stream(body)
        finally:
            body.close()
        first, self._first = self._first, None
        assert first is not None
        self._check(first)
        return Stated(first.get("ETag"), first.get("ContentType"))

    def _rest(self) -> dict[str, Any]:
        """What asks for the rest of a broken object, if it is still the same; empty to ask for all."""
        if self._first is None or not self._sink.size:
            return {}
        if not self._first.get("ETag") or self._first.get("ContentLength") is None:
            return {}
        return {"IfMatch": self._first["ETag"], "Range": f"bytes={self._sink.size}-"}

    def _open(self, pinned: dict[str, Any]) -> GetObjectOutputTypeDef:
        try:
            return call_within(
                self._deadline,
                "S3",
                lambda: self._client.get_object(
                    Bucket=self._bucket, Key=self._key, ChecksumMode="ENABLED", **pinned
                ),
                lambda late: late["Body"].close(),
            )
        # botocore follows an endpoint that always redirects until Python's stack ends.
        except (ClientError, BotoCoreError, RecursionError) as err:
            self._first = None
            raise self._refusal(err) from None

    def _accept(self, answer: GetObjectOutputTypeDef, *, resumed: bool) -> None:
        if resumed and self._continues(answer):
            self._resumed = True
            self._sink.expect(self._first["ContentLength"] if self._first else None)
            return
        if resumed and "ContentRange" in answer:
            self._first = None
            raise TryAgain(SourceIncomplete(f"S3 answered with the wrong part of {self.address}"))
        self._sink.restart()
        self._first = answer
        self._resumed = False
        self._sink.expect(answer.get("ContentLength"))

    def _continues(self, answer: GetObjectOutputTypeDef) -> bool:
        if self._first is None:
            return False
        size = self._first["ContentLength"]
        return (
            answer.get("ContentRange") == f"bytes {self._sink.size}-{size - 1}/{size}"
            and answer.get("ETag") == self._first["ETag"]
        )

    def _stream(self, body: Any) -> None:
        try:
            while True:
                chunk = body.read(_READ)
                self._deadline.check("S3")
                if not chunk:
                    return
                self._sink.write(chunk)
        except FlexibleChecksumError as err:
            self._first = None
            raise self._mismatch("of S3", str(err)) from None
        # ValueError: a TLS socket that the watchdog cut.
        except (BotoCoreError, HTTPError, OSError, ValueError) as err:
            self._deadline.check("S3")
            raise TryAgain(_broken(err, self.address)) from None

    def _check(self, answer: GetObjectOutputTypeDef) -> None:
        size = answer.get("ContentLength")
        if size is not None and size != self._sink.size:
            raise TryAgain(
                SourceIncomplete(f"S3 sent {self._sink.size:,} bytes of {self.address}, not {size:,}")
            )
        if not self._agrees(answer):
            self._compare(etag_md5(answer, self._bucket), "that is its ETag", "ETag")
        self._compare(self._md5, "in the record", "MD5")

    def _agrees(self, answer: GetObjectOutputTypeDef) -> bool:
        """Whether S3 keeps a checksum of the whole object, which must then be that of what came."""
        found = False
        for name, got in (
            ("ChecksumSHA256", lambda: bytes.fromhex(self._sink.sha256)),
            ("ChecksumCRC32", lambda: self._sink.crc32().to_bytes(4, "big")),
        ):
            told = _full_object_checksum(answer, name)
            if told is None:
                continue
            found = True
            # botocore checks whole answers; after a resumption only the sum of the parts tells.
            if self._resumed and told != base64.b64encode(got()).decode():
                raise self._mismatch("of S3", f"{name} {told}")
        return found

    def _compare(self, stated: str | None, which: str, name: str) -> None:
        if stated is None:
            return
        found = self._sink.md5()
        if found != stated:
            raise self._mismatch(which, f"{name} {stated}, MD5 {found}")

    def _mismatch(self, which: str, detail: str) -> TryAgain:
        reason = f"the bytes of {self.address} are not those of the checksum {which}"
        return TryAgain(SourceChecksumMismatch(reason, detail=one_line(detail)), Why.MISMATCH)

    def _refusal(self, err: ClientError | BotoCoreError | RecursionError) -> FileError | TryAgain:
        if not isinstance(err, ClientError):
            return _call_failure(err, self.address)
        code = str(err.response.get("Error", {}).get("Code", ""))
        status = int(err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        detail = one_line(str(err))
        if code == "NoSuchKey" and status == 404:
            return self._gone(detail)
        if code == "NoSuchBucket":
            return SourceUnavailable(f"the bucket {self._bucket} does not exist", detail=detail)
        if code in ("PreconditionFailed", "InvalidRange") or status in (412, 416):
            return TryAgain(SourceIncomplete(f"{self.address} changed while it was read", detail=detail))
        if code == "InvalidObjectState":
            return SourceError(f"{self.address} is archived and must be restored first", detail=detail)
        if code in _UNUSABLE:
            return UnusableRecord(f"S3 does not accept the name of {self.address} ({code})", detail=detail)
        if status in _REFUSED or code in _CREDENTIALS:
            return SourceForbidden(
                f"S3 refuses to give {self.address} ({code}, HTTP {status})", detail=detail
            )
        if status >= 500 or status in (404, 408, 429) or code in ("SlowDown", "RequestTimeout"):
            # After botocore's own retries.
            return SourceUnavailable(
                f"S3 kept failing for {self.address} ({code}, HTTP {status})", detail=detail
            )
        return SourceError(f"S3 does not give {self.address} ({code}, HTTP {status})", detail=detail)

    def _gone(self, detail: str) -> FileError | TryAgain:
        if not self._bucket_exists():
            return SourceUnavailable(f"the bucket {self._bucket} does not answer as one", detail=detail)
        return TryAgain(
            SourceUnavailable(
                f"S3 says that {self.address} does not exist, which a second try did not confirm",
                detail=detail,
            ),
            Why.GONE,
            confirmed=SourceGone(f"S3 says twice that {self.address} does not exist", detail=detail),
        )

    def _bucket_exists(self) -> bool:
        try:
            call_within(self._deadline, "S3", lambda: self._client.head_bucket(Bucket=self._bucket))
        except ClientError as err:
            # A role that may read objects need not be allowed to look at their bucket.
            return err.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _REFUSED
        except (BotoCoreError, RecursionError):
            return False
        return True


def s3_names(bucket: str | None, key: str | None) -> tuple[str, str]:
    """The bucket and key of a record.

    Raises
    ------
    UnusableRecord
        One of them is missing.
    """
    for value, name in ((bucket, "sourceBucketName"), (key, "sourceFilePath")):
        if not value or not value.strip():
            raise UnusableRecord(f"the record has no {name}")
    return str(bucket).strip(), str(key)


def _full_object_checksum(answer: Mapping[str, Any], name: str) -> str | None:
    told = answer.get(name)
    whole = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
    return str(told) if told and whole and "-" not in str(told) else None


def _call_failure(err: BotoCoreError | RecursionError, address: str) -> FileError:
    detail = one_line(f"{type(err).__name__}: {err}")
    if isinstance(err, ParamValidationError):
        return UnusableRecord(f"S3 does not accept the name of {address}", detail=detail)
    if isinstance(err, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        return SourceForbidden(
            f"there are no AWS credentials to read {address} with", detail=type(err).__name__
        )
    if isinstance(err, RecursionError):
        return SourceUnavailable(f"S3 redirects without end for {address}", detail=type(err).__name__)
    if isinstance(err, (ConnectTimeoutError, ReadTimeoutError)):
        return SourceTimeout(f"S3 did not answer in time for {address}", detail=detail)
    return SourceUnavailable(f"S3 cannot be reached for {address}", detail=detail)


def _broken(err: Exception, address: str) -> FileError:
    detail = one_line(f"{type(err).__name__}: {err}")
    if isinstance(err, ReadTimeoutError):
        return SourceTimeout(f"S3 fell silent in the middle of {address}", detail=detail)
    if isinstance(err, IncompleteReadError) or "IncompleteRead" in str(err):
        return SourceIncomplete(f"S3 sent fewer bytes of {address} than it had said", detail=detail)
    return SourceUnavailable(f"the connection to S3 broke in the middle of {address}", detail=detail)

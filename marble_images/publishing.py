"""The image bucket: pyramids and PDF copies, verified after they were sent.

A single PUT, and the completion of a multipart upload, replaces an object and its metadata in one
step. So of two runs that publish the same key at once one wins whole, and a reader never sees the
bytes of one with the metadata of the other.
"""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from marble_images.checksums import chunks_of, crc32_of, new_md5
from marble_images.errors import PublishError
from marble_images.object_keys import object_key
from marble_images.object_metadata import (
    PREFIX,
    PYRAMID_CONTENT_TYPE,
    Published,
    decode_metadata,
    encode_metadata,
    is_current,
    is_intact,
    is_of,
    is_sized,
    pyramid_metadata,
    upload_metadata,
)
from marble_images.s3_errors import MISSING, S3_ERRORS, error_code, explain

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

__all__ = [
    "PDF_CONTENT_TYPE",
    "PYRAMID_CONTENT_TYPE",
    "ImageBucket",
    "Published",
    "is_current",
    "is_of",
    "object_key",
    "pyramid_metadata",
    "s3_uri",
]

PDF_CONTENT_TYPE = "application/pdf"

_MULTIPART_BYTES = 64 * 2**20
_PART_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**20

_UPLOAD = f"{PREFIX}upload"


def s3_uri(bucket: str, key: str) -> str:
    """``s3://bucket/key``."""
    return f"s3://{bucket}/{key}"


class _NotAsSent(PublishError):
    """The bucket took the object and holds something else; sent once more."""


class ImageBucket:
    """The bucket that the IIIF server reads. May be used from many threads at once.

    Parameters
    ----------
    client
        A boto3 S3 client; its configuration says how long it waits and how often it tries.
    bucket
        Its name.
    multipart_bytes, part_bytes
        Objects from the first size on are sent in parts of the second.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        multipart_bytes: int = _MULTIPART_BYTES,
        part_bytes: int = _PART_BYTES,
    ) -> None:
        self.bucket = bucket
        self._client = client
        self._multipart_bytes = multipart_bytes
        self._part_bytes = part_bytes
        self._seen = threading.Event()
        self._keeps_crc32 = threading.Event()
        self._read_back: dict[tuple[str, str, str], str] = {}

    def uri(self, key: str) -> str:
        """The address of an object."""
        return s3_uri(self.bucket, key)

    def head(self, key: str) -> Published | None:
        """What lies at a key, or ``None`` if nothing does.

        An object of ours that the server tells nothing of by which its bytes could be known is read, once
        for each upload; see :func:`~marble_images.object_metadata.is_intact`.

        Raises
        ------
        PublishError
            The bucket does not exist, refuses access or fails.
        """
        published = self._head(key)
        if published is None or published.crc32 is not None or not is_sized(published):
            return published
        return published if is_intact(published) else replace(published, crc32=self._crc32_of(published))

    def _head(self, key: str) -> Published | None:
        try:
            found = self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except S3_ERRORS as error:
            if error_code(error) not in MISSING:
                raise self._failure(error) from None
            self._check_bucket()
            return None
        return self._published(key, found)

    def publish(self, path: Path, key: str, *, content_type: str, metadata: Mapping[str, str]) -> Published:
        """Send a file and verify what the bucket then holds.

        The CRC-32 of the whole file goes with it, so the server refuses bytes that changed on the way.
        A HEAD then has to show our size, metadata and checksum, as far as the server keeps one; see
        :func:`~marble_images.object_metadata.is_intact` for what counts where it does not.

        Returns
        -------
        Published
            What the HEAD showed. If ``superseded``, another run published at this key meanwhile: the
            object is that run's, whole, and its size is in the metadata.

        Raises
        ------
        PublishError
            The bucket does not take the object, or does not hold what was sent.
        """
        once_more = Retrying(
            stop=stop_after_attempt(2), retry=retry_if_exception_type(_NotAsSent), reraise=True
        )
        return once_more(self._publish, path, key, content_type=content_type, metadata=metadata)

    def _publish(self, path: Path, key: str, *, content_type: str, metadata: Mapping[str, str]) -> Published:
        upload = uuid.uuid4().hex
        sums = self._checksums(path)
        sent = encode_metadata(
            {
                **metadata,
                **upload_metadata(
                    upload=upload, size=sums.size, crc32=sums.crc32, md5=sums.md5, etag=sums.etag
                ),
            }
        )
        in_parts = sums.size >= self._multipart_bytes
        transfer = TransferConfig(
            multipart_threshold=self._multipart_bytes,
            multipart_chunksize=self._part_bytes,
            max_concurrency=4,
            # Threads pay off for parts only; one PUT needs none.
            use_threads=in_parts,
            preferred_transfer_client="classic",
        )
        extra: dict[str, Any] = {
            "ContentType": content_type,
            "Metadata": sent,
            # Given whole, it is checked and kept for the whole object however many parts it is sent in.
            "ChecksumAlgorithm": "CRC32",
            "ChecksumCRC32": sums.crc32,
        }
        try:
            self._client.upload_file(str(path), self.bucket, key, ExtraArgs=extra, Config=transfer)
        except S3_ERRORS as error:
            raise self._failure(error) from None
        except OSError as error:
            raise PublishError("the file to publish could not be read", detail=str(error)) from None
        held = self.head(key)
        if held is None:
            raise _NotAsSent(f"the bucket {self.bucket} does not show the object that was sent")
        if held.metadata.get(_UPLOAD) not in (None, upload):
            return replace(held, superseded=True)
        self._verify(held, size=sums.size, content_type=content_type, metadata=sent)
        return held

    def publish_pdf(self, path: Path, key: str, *, fingerprint: str, source_sha256: str) -> Published:
        """Send a PDF's copy; to be done before its pyramid is published.

        Raises
        ------
        PublishError
            As for ``publish``.
        """
        # The pyramid's metadata is what tells a later run that a file is done. Published first, it
        # would make a run that died before the copy look complete, and the copy would never follow.
        metadata = {f"{PREFIX}fingerprint": fingerprint, f"{PREFIX}source-sha256": source_sha256}
        return self.publish(path, key, content_type=PDF_CONTENT_TYPE, metadata=metadata)

    def download(self, published: Published, path: Path) -> None:
        """Write the bytes of an object, as ``head`` showed it, to a new file.

        Raises
        ------
        PublishError
            The object was replaced or deleted meanwhile, or the bucket fails.
        """
        try:
            found = self._client.get_object(
                Bucket=self.bucket, Key=published.key, IfMatch=f'"{published.etag}"'
            )
            body = found["Body"]
            with body, path.open("xb") as file:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)
        except S3_ERRORS as error:
            raise self._failure(error) from None

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error.

        Raises
        ------
        PublishError
            The bucket does not exist, refuses access or fails.
        """
        try:
            self._client.delete_object(Bucket=self.bucket, Key=key)
        except S3_ERRORS as error:
            raise self._failure(error) from None

    def _published(self, key: str, found: HeadObjectOutputTypeDef) -> Published:
        whole = found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        crc32 = found.get("ChecksumCRC32")
        if crc32:
            self._keeps_crc32.set()
        return Published(
            key=key,
            uri=self.uri(key),
            size=found["ContentLength"],
            etag=found.get("ETag", "").strip('"'),
            content_type=found.get("ContentType"),
            # The checksum of checksums of a multipart upload ends in the number of parts.
            crc32=crc32 if crc32 and whole and "-" not in crc32 else None,
            metadata=decode_metadata(found.get("Metadata", {})),
            last_modified=found.get("LastModified"),
        )

    def _verify(self, held: Published, *, size: int, content_type: str, metadata: Mapping[str, str]) -> None:
        where = f"the bucket {self.bucket}"
        if held.size != size:
            raise _NotAsSent(f"{where} holds {held.size} of the {size} bytes that were sent")
        if held.content_type != content_type:
            raise _NotAsSent(f"{where} holds the object as {held.content_type}, not as {content_type}")
        expected = decode_metadata(metadata)
        lost = sorted(name for name, value in expected.items() if held.metadata.get(name) != value)
        if lost:
            raise _NotAsSent(f"{where} holds the object without its metadata ({', '.join(lost)})")
        if size and not is_intact(held):
            raise _NotAsSent(f"{where} holds other bytes than those that were sent")

    def _crc32_of(self, published: Published) -> str:
        upload = (published.key, published.etag, published.metadata.get(_UPLOAD, ""))
        if upload not in self._read_back:
            same: dict[str, Any] = {"IfMatch": f'"{published.etag}"'} if published.etag else {}
            try:
                body = self._client.get_object(Bucket=self.bucket, Key=published.key, **same)["Body"]
                with body:
                    self._read_back[upload] = _base64(crc32_of(body.iter_chunks(_CHUNK_BYTES)))
            except S3_ERRORS as error:
                raise self._failure(error) from None
        return self._read_back[upload]

    def _checksums(self, path: Path) -> _Checksums:
        """The checksums of a file as it will be sent.

        MD5 takes longer than all others together, and tells nothing once the bucket has shown that it keeps
        CRC-32: should it not have done so for this object, that one is read back.
        """
        try:
            sums = _Checksums(path.stat().st_size, _base64(crc32_of(chunks_of(path))))
            return sums if self._keeps_crc32.is_set() else self._with_md5(sums, path)
        except OSError as error:
            raise PublishError("the file to publish could not be read", detail=str(error)) from None

    def _with_md5(self, sums: _Checksums, path: Path) -> _Checksums:
        whole, part, parts, size = new_md5(), new_md5(), list[bytes](), 0
        in_parts = sums.size >= self._multipart_bytes
        for chunk in _chunks(path, self._part_bytes):
            whole.update(chunk)
            size += len(chunk)
            if not in_parts:
                continue
            part.update(chunk)
            if size % self._part_bytes == 0:
                parts.append(part.digest())
                part = new_md5()
        etag = whole.hexdigest()
        if in_parts:
            parts += [part.digest()] if size % self._part_bytes else []
            etag = f"{new_md5(b''.join(parts)).hexdigest()}-{len(parts)}"
        return replace(sums, md5=whole.hexdigest(), etag=etag)

    def _check_bucket(self) -> None:
        # A HEAD gives the same 404 for a missing object and for a missing bucket.
        if self._seen.is_set():
            return
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except S3_ERRORS as error:
            if error_code(error) in MISSING | {"NoSuchBucket"}:
                raise PublishError(f"the bucket {self.bucket} does not exist") from None
            if not error_code(error):
                raise self._failure(error) from None
        self._seen.set()

    def _failure(self, error: BaseException) -> PublishError:
        return PublishError(explain(error, bucket=self.bucket), detail=str(error))


@dataclass(frozen=True)
class _Checksums:
    """Of a file: its size, base64 of its CRC-32, hexadecimal MD5, and the ETag that S3 will give it."""

    size: int
    crc32: str
    md5: str | None = None
    etag: str | None = None


def _chunks(path: Path, part_bytes: int) -> Iterator[bytes]:
    """The bytes of a file, in chunks of which none reaches over the end of a part."""
    left = part_bytes
    with path.open("rb") as stream:
        while chunk := stream.read(min(_CHUNK_BYTES, left)):
            yield chunk
            left = left - len(chunk) or part_bytes


def _base64(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode("ascii")

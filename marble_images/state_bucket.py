"""Small objects under one prefix of the state bucket, with clear errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from marble_images.errors import StateError
from marble_images.s3_errors import MISSING, S3_ERRORS, error_code, explain

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class StateBucket:
    """Reads and writes objects by names relative to a prefix. May be used from many threads at once.

    Parameters
    ----------
    client
        A boto3 S3 client.
    bucket
        Its name.
    prefix
        Where all names begin; a ``/`` is put between.

    Raises
    ------
    StateError
        From every method: the bucket does not exist, refuses access or fails; one line, naming it.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self._client = client
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def uri(self, name: str) -> str:
        """``s3://bucket/key`` of a name."""
        return f"s3://{self.bucket}/{self._prefix}{name}"

    def read(self, name: str) -> bytes | None:
        """An object's bytes, or ``None`` if there is none."""
        try:
            with self._client.get_object(Bucket=self.bucket, Key=self._prefix + name)["Body"] as body:
                return body.read()
        except S3_ERRORS as error:
            if error_code(error) in MISSING:
                return None
            raise self._failure(error) from None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object, or ``None`` if there is none."""
        stored = self.read(name)
        if stored is None:
            return None
        try:
            value = json.loads(stored)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise StateError(f"{self.uri(name)} is not the JSON object that it should be")
        return value

    def write(self, name: str, body: bytes, *, content_type: str) -> None:
        """Write an object, over any that is there."""
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=self._prefix + name, Body=body, ContentType=content_type
            )
        except S3_ERRORS as error:
            raise self._failure(error) from None

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write a JSON object, readable by people."""
        text = json.dumps(value, indent=1, sort_keys=True)
        self.write(name, text.encode("ascii"), content_type="application/json")

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is no error."""
        try:
            self._client.delete_object(Bucket=self.bucket, Key=self._prefix + name)
        except S3_ERRORS as error:
            raise self._failure(error) from None

    def names(self, start: str) -> Iterator[str]:
        """The names that begin with ``start``, sorted."""
        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + start):
                for found in page.get("Contents", []):
                    yield found["Key"][len(self._prefix) :]
        except S3_ERRORS as error:
            raise self._failure(error) from None

    def _failure(self, error: BaseException) -> StateError:
        return StateError(f"the pipeline's state: {explain(error, bucket=self.bucket)}", detail=str(error))

"""What a day needs, looked at before it begins: settings that can be used, and buckets that exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from marble_images.errors import MarbleImagesError, NoDiskSpace, SettingsError
from marble_images.pipeline.work_folder import work_folder
from marble_images.pyramid.profiles import get_profile
from marble_images.s3_errors import MISSING, S3_ERRORS, error_code, explain
from marble_images.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NO_BUCKET_CODE = "NoSuchBucket"
_NO_BUCKET = MISSING | {_NO_BUCKET_CODE}


class BucketUnreachable(MarbleImagesError):
    """S3 gave no answer at all, so nothing can be done."""

    code = "bucket-unreachable"


def check_settings(settings: Settings) -> None:
    """Check what can be checked without a request.

    Raises
    ------
    SettingsError
        A setting is missing, or cannot be used; names it.
    """
    settings.require_pipeline()
    _ = settings.source_ports
    try:
        get_profile(settings.profile)
    except SettingsError as error:
        raise SettingsError(f"PROFILE cannot be used: {error.reason}") from None
    try:
        with work_folder(settings.work_folder):
            pass
    except NoDiskSpace as error:
        raise SettingsError(error.reason) from None


def check_buckets(settings: Settings, make_client: Callable[[], S3Client]) -> None:
    """Check that both buckets exist.

    Being refused is no proof: to ask for a bucket takes ``s3:ListBucket``, and a role may write objects
    without it.

    Raises
    ------
    SettingsError
        There is no such bucket, or boto3's own settings cannot be used; names the setting.
    BucketUnreachable
        S3 does not answer, or there are no credentials to ask it with.
    """
    try:
        client = make_client()
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"the AWS_* variables cannot be used: {error}") from None
    for name in ("image_bucket", "state_bucket"):
        bucket = getattr(settings, name)
        try:
            client.head_bucket(Bucket=bucket)
        except S3_ERRORS as error:
            code, said = error_code(error), explain(error, bucket=bucket)
            if code in _NO_BUCKET and _is_missing(client, bucket):
                raise SettingsError(f"{name.upper()}: the bucket {bucket} does not exist") from None
            if not code:
                raise BucketUnreachable(f"{name.upper()}: {said}", detail=str(error)) from None


def _is_missing(client: S3Client, bucket: str) -> bool:
    # The answer to a HEAD has no text, and a server that keeps objects only says 404 of every bucket.
    try:
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except S3_ERRORS as error:
        return error_code(error) == _NO_BUCKET_CODE
    return False

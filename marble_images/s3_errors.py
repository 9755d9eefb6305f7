"""S3's failures in words for people."""

from __future__ import annotations

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

S3_ERRORS = (ClientError, BotoCoreError, Boto3Error)
"""What a boto3 client can raise."""

MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


def error_code(error: BaseException) -> str:
    """S3's code of a failure, such as ``NoSuchKey`` or, for a HEAD, ``404``; empty if it has none."""
    found = _inner(error)
    return str(found.response.get("Error", {}).get("Code", "")) if isinstance(found, ClientError) else ""


def explain(error: BaseException, *, bucket: str) -> str:
    """One line on a failure: what about which bucket."""
    code = error_code(error)
    named = f"the bucket {bucket}"
    if code in ("403", "AccessDenied", "AllAccessDisabled"):
        return f"{named} refuses access ({code}): check its name and the permissions"
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
        return f"{named} refuses the AWS credentials ({code})"
    if code == "NoSuchBucket":
        return f"{named} does not exist"
    if code:
        return f"{named} answered with an error ({code})"
    inner = _inner(error)
    if isinstance(inner, NoCredentialsError):
        return f"no AWS credentials were found for {named}"
    if isinstance(inner, (HTTPClientError, BotoConnectionError)):
        return f"{named} could not be reached"
    return f"{named} could not be used ({type(inner).__name__})"


def _inner(error: BaseException) -> BaseException:
    # upload_file wraps what happened in an error whose text names local paths.
    context = error.__cause__ or error.__context__
    return context if isinstance(error, Boto3Error) and isinstance(context, S3_ERRORS) else error

"""Checksums as records, S3 and web servers state them, compared with the bytes that arrived."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

_HEX_MD5 = re.compile(r"[0-9a-f]{32}")


def hex_md5(text: str | None) -> str | None:
    """An MD5 in hexadecimal, read from hexadecimal or base64; ``None`` if the text is neither."""
    cleaned = (text or "").strip().strip('"')
    if _HEX_MD5.fullmatch(cleaned.lower()):
        return cleaned.lower()
    try:
        raw = base64.b64decode(cleaned, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 16 else None


def header_md5(headers: Mapping[str, str]) -> str | None:
    """The MD5 that an HTTP answer states for its body: ``x-goog-hash`` or ``Content-MD5``."""
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        for part in headers.get("x-goog-hash", "").split(","):
            name, _, value = part.strip().partition("=")
            if name == "md5" and hex_md5(value):
                return hex_md5(value)
    return hex_md5(headers.get("Content-MD5"))


def etag_md5(answer: Mapping[str, object], bucket: str) -> str | None:
    """The MD5 that an S3 object's ETag is, or ``None`` where it is something else.

    It is the MD5 for objects put in one part, in general-purpose buckets, not encrypted with KMS or a
    customer's key (Amazon S3 API Reference, "Object").
    """
    encryption = str(answer.get("ServerSideEncryption") or "AES256")
    if encryption != "AES256" or answer.get("SSECustomerAlgorithm") or bucket.endswith("--x-s3"):
        return None
    etag = str(answer.get("ETag") or "").strip('"').lower()
    return etag if _HEX_MD5.fullmatch(etag) else None

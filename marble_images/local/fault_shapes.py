"""Failures in the shapes in which each service sends them."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

Environ = dict[str, Any]


def appsync_failure(_environ: Environ, status: int, reason: str | None) -> tuple[str, bytes]:
    """A failure of AppSync's front door."""
    kinds = {401: "UnauthorizedException", 403: "AccessDeniedException", 429: "ThrottlingException"}
    kind = reason or kinds.get(status, "InternalFailure" if status >= 500 else "BadRequestException")
    message = "Rate exceeded" if status == 429 else phrase(status)
    error = {"errors": [{"errorType": kind, "message": message}]}
    return "application/json;charset=UTF-8", json.dumps(error).encode()


def aws_failure(environ: Environ, status: int, reason: str | None) -> tuple[str, bytes]:
    """A failure of S3, or of the services that speak JSON."""
    codes = {403: "AccessDenied", 404: "NoSuchKey", 429: "SlowDown", 500: "InternalError", 503: "SlowDown"}
    code = reason or codes.get(status, re.sub(r"\W", "", phrase(status)))
    if "HTTP_X_AMZ_TARGET" in environ:
        kind = {"SlowDown": "ThrottlingException", "AccessDenied": "AccessDeniedException"}.get(code, code)
        return "application/x-amz-json-1.1", json.dumps({"__type": kind, "message": phrase(status)}).encode()
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{phrase(status)}</Message><RequestId>LOCAL</RequestId></Error>"
    )
    return "application/xml", text.encode()


def web_failure(_environ: Environ, status: int, _reason: str | None) -> tuple[str, bytes]:
    """A failure of a web server: a page."""
    title = f"{status} {phrase(status)}"
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return "text/html; charset=utf-8", page.encode()


def google_failure(environ: Environ, status: int, reason: str | None) -> tuple[str, bytes]:
    """A failure of Google's JSON APIs, or of its token endpoint."""
    if environ["PATH_INFO"] == "/token":
        error = {"error": reason or ("internal_failure" if status >= 500 else "invalid_grant")}
        return "application/json; charset=UTF-8", json.dumps(error).encode()
    reasons = {401: "authError", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded"}
    why = reason or reasons.get(status, "backendError")
    one = {
        "message": phrase(status),
        "domain": "usageLimits" if "imitExceeded" in why else "global",
        "reason": why,
    }
    error_object = {"error": {"code": status, "message": phrase(status), "errors": [one]}}
    return "application/json; charset=UTF-8", json.dumps(error_object).encode()


def phrase(status: int) -> str:
    """What HTTP calls a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"

"""The Google stand-in: the token endpoint of service accounts, and Drive v3's files.

The token endpoint checks the signed assertion as Google does (RFC 7523), so google-auth's real flow
runs against it with a generated key.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, request, send_file
from google.auth import exceptions as google_errors
from google.auth import jwt

from marble_images.local import web

SCOPE = "https://www.googleapis.com/auth/drive.readonly"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
"""What google-auth names as the audience, wherever the credentials say that the token endpoint is."""

LIFETIME = 3600
CLIENT_EMAIL = "marble-images@local-stack.iam.gserviceaccount.com"


class TokenDesk:
    """Gives out access tokens, and knows which ones are still good.

    Parameters
    ----------
    public_key
        The service account's public key (PEM).
    token_uri
        Gives the address of the token endpoint: the audience that an assertion must name.
    """

    def __init__(self, public_key: str, token_uri: Callable[[], str]) -> None:
        self._public_key = public_key
        self._token_uri = token_uri
        self._good_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def issue(self, assertion: str) -> str:
        """A token for a signed assertion.

        Raises
        ------
        ValueError
            Its signature, audience, dates, issuer or scope are not as they must be.
        """
        try:
            audiences = [self._token_uri(), GOOGLE_AUDIENCE]
            claims = jwt.decode(assertion, certs=self._public_key, audience=audiences)
        except (ValueError, google_errors.GoogleAuthError) as error:
            raise ValueError(f"Invalid JWT: {error}") from None
        if claims.get("iss") != CLIENT_EMAIL:
            raise ValueError("Invalid grant: account not found")
        if SCOPE not in str(claims.get("scope", "")).split():
            raise ValueError(f"Invalid OAuth scope: {claims.get('scope')}")
        token = f"ya29.{secrets.token_urlsafe(32)}"
        with self._lock:
            self._good_until[token] = time.time() + LIFETIME
        return token

    def accepts(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header carries a token that is still good."""
        kind, _, token = (authorization or "").partition(" ")
        with self._lock:
            return kind.lower() == "bearer" and self._good_until.get(token, 0) > time.time()

    def expire(self) -> int:
        """Let every token expire now; how many there were."""
        with self._lock:
            count = len(self._good_until)
            self._good_until.clear()
        return count


def build_app(folder: Path, desk: TokenDesk) -> Flask:
    """``/token`` and ``/drive/v3/files/<id>`` over the files in ``folder / "drive"``."""
    app = Flask(__name__, static_folder=None)
    app.after_request(web.without_date)

    @app.post("/token")
    def token() -> Response:
        if request.form.get("grant_type") != _JWT_BEARER:
            return _json(400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"})
        try:
            issued = desk.issue(request.form.get("assertion", ""))
        except ValueError as error:
            return _json(400, {"error": "invalid_grant", "error_description": str(error)})
        return _json(200, {"access_token": issued, "expires_in": LIFETIME - 1, "token_type": "Bearer"})

    @app.get("/drive/v3/files/<file_id>")
    def file(file_id: str) -> Response:
        if not desk.accepts(request.headers.get("Authorization")):
            return drive_failure(401, "authError", "Request had invalid authentication credentials.")
        path = web.one_file(folder / "drive", file_id)
        # Drive hides files of shared drives from callers that don't say that they know of them.
        if path is None or request.args.get("supportsAllDrives") != "true":
            return drive_failure(404, "notFound", f"File not found: {file_id}.")
        if request.args.get("alt") == "media":
            return send_file(path, conditional=True)
        return _json(200, _describe(path, file_id, request.args))

    return app


def operation(environ: Mapping[str, Any]) -> str:
    """What a request asks for: a token, a file's content, or what Drive knows about it."""
    if environ["PATH_INFO"] == "/token":
        return "Token"
    return "Download" if "alt=media" in environ.get("QUERY_STRING", "") else "Metadata"


def drive_failure(status: int, reason: str, message: str) -> Response:
    """A failure in the shape of Google's JSON APIs."""
    domain = "usageLimits" if "imitExceeded" in reason else "global"
    one: dict[str, Any] = {"message": message, "domain": domain, "reason": reason}
    if reason == "notFound":
        one |= {"locationType": "parameter", "location": "fileId"}
    return _json(status, {"error": {"code": status, "message": message, "errors": [one]}})


def service_account(private_key: str, base_url: str) -> dict[str, str]:
    """The JSON that Google gives for a service account, with our own addresses."""
    return {
        "type": "service_account",
        "project_id": "local-stack",
        "private_key_id": hashlib.sha256(private_key.encode()).hexdigest()[:40],
        "private_key": private_key,
        "client_email": CLIENT_EMAIL,
        "client_id": "100000000000000000000",
        "auth_uri": f"{base_url}/auth",
        "token_uri": f"{base_url}/token",
        "universe_domain": "googleapis.com",
    }


def _describe(path: Path, file_id: str, arguments: Mapping[str, str]) -> dict[str, str]:
    everything = {
        "kind": "drive#file",
        "id": file_id,
        "name": path.name,
        "mimeType": "image/jpeg",
        "size": str(path.stat().st_size),
        "md5Checksum": hashlib.md5(path.read_bytes()).hexdigest(),
    }
    asked = arguments.get("fields", "kind,id,name,mimeType").split(",")
    return everything if "*" in asked else {name: everything[name] for name in asked if name in everything}


def _json(status: int, content: Any) -> Response:
    return Response(json.dumps(content), status, content_type="application/json; charset=UTF-8")

"""The admin endpoint of the stand-ins: named functions, called with JSON over HTTP on 127.0.0.1.

It has a server and a port of its own, so no fault that is commanded through it can hit it.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import requests
from flask import Flask, Response, jsonify, request

_KEY_HEADER = "X-Admin-Key"


class ControlError(RuntimeError):
    """The stand-ins refused a call; the message is theirs."""


def build_app(functions: Mapping[str, Callable[..., Any]], key: str) -> Flask:
    """The WSGI application that calls ``functions`` by name for those who know ``key``."""
    app = Flask(__name__)

    @app.post("/<name>")
    def call(name: str) -> tuple[Response, int]:
        if not hmac.compare_digest(request.headers.get(_KEY_HEADER, ""), key):
            return jsonify(error="wrong admin key"), 403
        if name not in functions:
            return jsonify(error=f"no function {name}"), 404
        try:
            return jsonify(result=functions[name](**(request.get_json() or {}))), 200
        except (KeyError, ValueError, TypeError, OSError) as error:
            return jsonify(error=f"{type(error).__name__}: {error}"), 400

    return app


class ControlClient:
    """Calls the admin endpoint of stand-ins that run in another process.

    Parameters
    ----------
    url
        Address of the admin endpoint.
    key
        Its key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {_KEY_HEADER: key}

    def call(self, name: str, /, *, timeout: float = 60, **arguments: Any) -> Any:
        """Call one function.

        Raises
        ------
        ControlError
            The function failed.
        requests.RequestException
            The stand-ins do not answer.
        """
        # A proxy of the environment must never get to see this.
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                f"{self._url}/{name}", json=arguments, headers=self._headers, timeout=timeout
            )
        content = answer.json()
        if answer.status_code != 200:
            raise ControlError(f"{name}: {content.get('error')}")
        return content["result"]


def to_text(content: bytes) -> str:
    """Bytes as JSON can carry them."""
    return base64.b64encode(content).decode()


def from_text(text: str) -> bytes:
    """The bytes of :func:`to_text`."""
    return base64.b64decode(text)

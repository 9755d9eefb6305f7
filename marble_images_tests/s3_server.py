"""A small S3-compatible server on 127.0.0.1 that can misbehave, and clients for it and for moto's."""

from __future__ import annotations

import base64
import hashlib
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
from botocore.config import Config


def s3_client(url: str, *, tries: int = 2) -> Any:
    """A client with credentials that open nothing."""
    config = Config(
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": tries},
        max_pool_connections=16,
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


@dataclass
class Stored:
    body: bytes
    headers: dict[str, str]
    etag: str


class S3Server(ThreadingHTTPServer):
    """One bucket that takes PUT, uploads in parts, GET, HEAD and DELETE; ``mangle`` changes what it keeps.

    Without ``checksums`` it is as servers are that know nothing of S3's: it overlooks those it is sent, keeps
    none and shows none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, Stored] = {}
        self.mangle: Callable[[Stored], Stored | None] = lambda stored: stored
        self.uploads: dict[str, tuple[dict[str, str], dict[int, bytes]]] = {}
        self.statuses: list[tuple[int, str]] = []
        self.always: tuple[int, str] | None = None
        self.checksums = True
        self.seen: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is no news."""


_md5 = partial(hashlib.md5, usedforsecurity=False)


def _xml(root: str, name: str, value: str) -> bytes:
    return f"<{root}><{name}>{value}</{name}></{root}>".encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: S3Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.refused():
            return
        crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        if self.server.checksums and self.headers.get("x-amz-checksum-crc32", crc) != crc:
            self.error(400, "BadDigest")
            return
        etag = _md5(body).hexdigest()
        if "uploadId" in self.asked:
            self.server.uploads[self.asked["uploadId"]][1][int(self.asked["partNumber"])] = body
        else:
            self.keep(Stored(body, self.own_headers, etag))
        self.answer(200, b"", ETag=f'"{etag}"')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.refused():
            return
        if "uploadId" not in self.asked:
            upload = f"upload-{len(self.server.uploads)}"
            self.server.uploads[upload] = (self.own_headers, {})
            self.answer(200, _xml("InitiateMultipartUploadResult", "UploadId", upload))
            return
        headers, numbered = self.server.uploads.pop(self.asked["uploadId"])
        parts = [numbered[number] for number in sorted(numbered)]
        etag = f"{_md5(b''.join(_md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"
        self.keep(Stored(b"".join(parts), headers, etag))
        self.answer(200, _xml("CompleteMultipartUploadResult", "ETag", f'"{etag}"'))

    def keep(self, stored: Stored) -> None:
        kept = self.server.mangle(stored)
        if kept is not None:
            self.server.objects[self.key] = kept

    @property
    def own_headers(self) -> dict[str, str]:
        kept = ("content-type", "x-amz-meta-")
        return {n: v for n, v in self.headers.items() if n.lower().startswith(kept)}

    @property
    def asked(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def do_GET(self) -> None:
        self.show(with_body=True)

    def do_HEAD(self) -> None:
        self.show(with_body=False)

    def do_DELETE(self) -> None:
        if not self.refused():
            self.server.objects.pop(self.key, None)
            self.answer(204, b"")

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).partition("/bucket/")[2]

    def refused(self) -> bool:
        self.server.seen.append(f"{self.command} {self.key}")
        told = self.server.statuses.pop(0) if self.server.statuses else self.server.always
        if told is not None:
            self.error(*told)
        return told is not None

    def show(self, *, with_body: bool) -> None:
        if self.refused():
            return
        stored = self.server.objects.get(self.key)
        if not self.key:
            self.answer(200, b"")
        elif stored is None:
            self.error(404, "NoSuchKey")
        else:
            crc = base64.b64encode(zlib.crc32(stored.body).to_bytes(4, "big")).decode()
            shown = {"x-amz-checksum-crc32": crc} if self.server.checksums else {}
            self.answer(200, stored.body, ETag=f'"{stored.etag}"', **stored.headers, **shown)

    def error(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

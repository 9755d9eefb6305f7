"""The AWS stand-in: moto's server (S3, SSM, SNS, ECS ...) whose S3 outlives the process."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server import werkzeug_app
from moto.moto_server.utilities import RegexConverter
from moto.s3.models import FakeKey
from moto.sns.models import sns_backends
from werkzeug.wsgi import get_input_stream

from marble_images.local.connections import KeepAliveHandler
from marble_images.local.fault_shapes import aws_failure
from marble_images.local.layout import REGION
from marble_images.local.s3_disk import S3Disk
from marble_images.local.s3_stream import stream_large
from marble_images.local.server import WSGIApp

_DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "HTTP_CONTENT_MD5": lambda body: hashlib.md5(body).digest(),
    "HTTP_X_AMZ_CHECKSUM_CRC32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "HTTP_X_AMZ_CHECKSUM_SHA1": lambda body: hashlib.sha1(body).digest(),
    "HTTP_X_AMZ_CHECKSUM_SHA256": lambda body: hashlib.sha256(body).digest(),
}


PREPARING = "preparing-the-stack"
"""In the user agent of the client that fills the services before others may use them."""

_PATIENCE = 60.0


class AwsHandler(werkzeug_app.MotoRequestHandler, KeepAliveHandler):
    """moto's request handler, on connections that stay open."""


class _Dispatcher(werkzeug_app.DomainDispatcherApplication):
    """moto's dispatcher, which looks through all that moto can stand for once for each host, not request."""

    @lru_cache(maxsize=64)  # noqa: B019 - it lives as long as the process
    def get_backend_for_host(self, host: str | None) -> Any:
        """The service that a host stands for."""
        return super().get_backend_for_host(host)


class _AnyCharacter(RegexConverter):
    """moto's routes, for keys with line breaks too: S3 has them, and real records name them."""

    def __init__(self, url_map: Any, *items: Any) -> None:
        super().__init__(url_map, *items)
        self.regex = f"(?s:{self.regex})"


_unlocked_etag: Any = FakeKey.etag.fget  # type: ignore[attr-defined]


def _etag(fake: FakeKey) -> str:
    # moto reads the value for its MD5 without the lock: whoever else reads it at that moment gets nothing.
    with fake.lock:
        return str(_unlocked_etag(fake))


FakeKey.etag = property(_etag)  # type: ignore[assignment,method-assign]


def build_app(disk: S3Disk, others_ready: threading.Event) -> WSGIApp:
    """The WSGI application: moto, with each change of S3 on disk before it is answered.

    Parameters
    ----------
    disk
        Where S3's content is kept.
    others_ready
        Other services than S3 answer once this is set, but to :data:`PREPARING`.
    """
    werkzeug_app.RegexConverter = _AnyCharacter  # type: ignore[attr-defined]
    moto = _Dispatcher(_backend)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if service_of(environ) != "s3" and not _prepares(environ):
            others_ready.wait(_PATIENCE)
        if service_of(environ) != "s3":
            return moto(environ, start_response)
        if not _arrived_whole(environ):
            return _fail(environ, start_response, "400 Bad Request", "BadDigest")
        try:
            streamed = stream_large(disk, moto, *bucket_and_key(environ), environ)
        except OSError:
            return _fail(environ, start_response, "500 Internal Server Error", "InternalError")
        if streamed is not None:
            start_response(streamed.phrase, streamed.headers)
            return streamed.blocks
        answer = moto(environ, start_response)
        if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE"):
            _sync(disk, environ)
        return answer

    return app


def _backend(service: Any) -> Any:
    app = werkzeug_app.create_backend_app(service)
    # In the debug mode that moto sets, Flask makes a new class for each request.
    app.debug = False
    return app


def unless_preparing(app: WSGIApp, bare: WSGIApp) -> WSGIApp:
    """``bare`` for the client that fills the services, which no fault may hit; ``app`` for others."""
    return lambda environ, start_response: (bare if _prepares(environ) else app)(environ, start_response)


def _prepares(environ: dict[str, Any]) -> bool:
    return PREPARING in environ.get("HTTP_USER_AGENT", "")


def service_of(environ: dict[str, Any]) -> str:
    """The AWS service that a request was signed for; of those that were not signed, S3 or ``other``."""
    if "HTTP_AUTHORIZATION" not in environ and "HTTP_X_AMZ_TARGET" in environ:
        return "other"
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split(",")[0].split("/")
    return scope[3] if len(scope) == 5 else "s3"


def bucket_and_key(environ: dict[str, Any]) -> tuple[str, str]:
    """The bucket and the key that an S3 request names; either may be empty."""
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    bucket, _, key = path.removeprefix("/").partition("/")
    return bucket, key


def operation(environ: dict[str, Any]) -> str:
    """What a request asks AWS for, by its name in the AWS documentation: ``GetObject`` ..."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return target.rpartition(".")[2]
    if service_of(environ) != "s3":
        return service_of(environ)
    _, key = bucket_and_key(environ)
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    method = environ["REQUEST_METHOD"]
    return _object_operation(method, query, environ) if key else _bucket_operation(method, query)


def _object_operation(method: str, query: dict[str, list[str]], environ: dict[str, Any]) -> str:
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return names.get(method, "ListParts")
    if method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in environ:
        return "CopyObject"
    for name in ("tagging", "acl", "attributes"):
        if name in query:
            return f"{method.title()}Object{name.title()}"
    return f"{method.title()}Object"


def _bucket_operation(method: str, query: dict[str, list[str]]) -> str:
    if "delete" in query:
        return "DeleteObjects"
    names = {"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket", "POST": "PostObject"}
    if method in names:
        return names[method]
    return "ListObjectsV2" if "list-type" in query else "ListObjects"


def _arrived_whole(environ: dict[str, Any]) -> bool:
    """Whether an upload is what its checksums say, as S3 checks it and moto does not."""
    promised = {name: environ[name] for name in _DIGESTS if name in environ}
    if environ["REQUEST_METHOD"] != "PUT" or not promised:
        return True
    body = get_input_stream(environ).read()
    environ["wsgi.input"] = io.BytesIO(body)
    return all(base64.b64encode(_DIGESTS[name](body)).decode() == value for name, value in promised.items())


def _fail(environ: dict[str, Any], start_response: Any, status: str, reason: str) -> Iterable[bytes]:
    kind, body = aws_failure(environ, int(status.split()[0]), reason)
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def _sync(disk: S3Disk, environ: dict[str, Any]) -> None:
    bucket, key = bucket_and_key(environ)
    done = operation(environ)
    if done in ("UploadPart", "CreateMultipartUpload", "AbortMultipartUpload"):
        return
    if not key or done == "DeleteObjects":
        disk.sync_bucket(bucket)
    elif not disk.sync(bucket, key) and environ["REQUEST_METHOD"] != "DELETE":
        # moto reads some odd keys in its own way.
        disk.sync_bucket(bucket)


def published(topic: str) -> list[dict[str, Any]]:
    """What was published to a topic: ``subject`` and ``message`` of each, in order."""
    sent = _topic(topic).sent_notifications if _topic(topic) else []
    return [{"subject": entry[2], "message": entry[1]} for entry in sent]


def forget_published(topic: str) -> None:
    """Forget what was published to a topic."""
    if _topic(topic):
        _topic(topic).sent_notifications.clear()


def _topic(name: str) -> Any:
    topics = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics
    return next((topic for arn, topic in topics.items() if arn.endswith(f":{name}")), None)

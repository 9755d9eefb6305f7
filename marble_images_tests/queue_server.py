"""A GraphQL server on 127.0.0.1 with the queue's schema, which misbehaves on command."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from graphql import GraphQLError, build_schema, graphql_sync

from marble_images.local.appsync import SCHEMA
from marble_images.models import fold_id

Fault = Callable[["Handler", dict[str, Any]], None]
_SCHEMA = build_schema(SCHEMA)
KEY = "da2-marked-secret-key"


class QueueServer(ThreadingHTTPServer):
    """Answers from ``records``, after the faults that are queued (or ``always``) were played."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.records: dict[str, dict[str, Any]] = {}
        self.poisoned: dict[str, str] = {}
        self.pages: dict[str | None, tuple[Any, Any]] = {}
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.released = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/graphql"

    def add(self, *names: str, **fields: Any) -> None:
        for name in names:
            self.records[fold_id(name)] = {"id": name, "filePath": name, **fields}

    def stop(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is no news."""

    def next_fault(self) -> Fault | None:
        with self.lock:
            return self.faults.popleft() if self.faults else self.always

    # --- the schema's root ---

    def listFilesToProcess(self, _info: object, **arguments: Any) -> Any:
        if self.pages:
            items, token = self.pages[arguments.get("nextToken")]
            return {"items": items, "nextToken": token}
        names = sorted(self.records)
        start = int(arguments.get("nextToken") or 0)
        end = start + arguments.get("limit", 1000)
        items = [self.records[name] for name in names[start:end]]
        return {"items": items, "nextToken": str(end) if end < len(names) else None}

    def getFileToProcessRecord(self, _info: object, filePath: str) -> Any:  # noqa: N803
        if filePath in self.poisoned:
            raise GraphQLError("it is broken", extensions={"errorType": self.poisoned[filePath]})
        return self.records.get(fold_id(filePath))

    def saveFileLastProcessedDate(self, _info: object, itemId: str, **size: Any) -> Any:  # noqa: N803
        stored = self.records.setdefault(fold_id(itemId), {"id": None, "filePath": None})
        stored.update(height=size.get("height"), width=size.get("width"))
        return dict(stored)

    def removeItemToProcess(self, _info: object, itemId: str) -> Any:  # noqa: N803
        return {"recordsDeleted": None} if self.records.pop(fold_id(itemId), None) else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: QueueServer

    def setup(self) -> None:
        with self.server.lock:
            self.server.connections += 1
        super().setup()

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.answer(405, b"GET")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.headers.append(dict(self.headers))
        if self.headers.get("x-api-key") != KEY:
            refusal = {"errorType": "UnauthorizedException", "message": "You are not authorized"}
            self.answer(401, json.dumps({"errors": [refusal]}).encode())
            return
        fault = self.server.next_fault()
        if fault is not None:
            fault(self, body)
        else:
            self.answer(200, json.dumps(self.result(body)).encode())

    def result(self, body: dict[str, Any]) -> dict[str, Any]:
        found = graphql_sync(_SCHEMA, body["query"], self.server, variable_values=body.get("variables"))
        answer: dict[str, Any] = {"data": found.data}
        if found.errors:
            answer["errors"] = [
                {"message": e.message, "path": e.path, "errorType": (e.extensions or {}).get("errorType")}
                for e in found.errors
            ]
        return answer

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def good(self, body: dict[str, Any]) -> bytes:
        return json.dumps(self.result(body)).encode()

    def drip(self, data: bytes) -> None:
        while not self.server.released.is_set():
            for byte in data:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.02)


# --- faults ----------------------------------------------------------------------------------------


def status(code: int, body: bytes = b"{}", **headers: str) -> Fault:
    return lambda handler, _: handler.answer(code, body, **headers)


def says(answer: object) -> Fault:
    return lambda handler, _: handler.answer(200, json.dumps(answer).encode())


def graphql_error(error_type: str | None, *, data: bool = False, message: str = "as told") -> Fault:
    def fault(handler: Handler, body: dict[str, Any]) -> None:
        answer = handler.result(body) if data else {"data": None}
        error = {"path": ["listFilesToProcess", "items", 3], "errorType": error_type, "message": message}
        handler.answer(200, json.dumps({**answer, "errors": [error]}).encode())

    return fault


def html(handler: Handler, _: dict[str, Any]) -> None:
    handler.answer(200, b"<html><body>Sign in first</body></html>", Content_Type="text/html")


def cut_with_right_length(handler: Handler, body: dict[str, Any]) -> None:
    handler.answer(200, handler.good(body)[:-5])


def cut_with_wrong_length(handler: Handler, body: dict[str, Any]) -> None:
    good = handler.good(body)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(good)))
    handler.end_headers()
    handler.wfile.write(good[:-5])
    handler.close_connection = True


def hang_up(handler: Handler, _: dict[str, Any]) -> None:
    handler.close_connection = True


def reset(handler: Handler, body: dict[str, Any]) -> None:
    good = handler.good(body)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(good)))
    handler.end_headers()
    handler.wfile.write(good[:5])
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def silence(handler: Handler, _: dict[str, Any]) -> None:
    handler.server.released.wait(30)
    handler.close_connection = True


def dripping_body(handler: Handler, _: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000000")
    handler.end_headers()
    handler.drip(b" ")


def dripping_headers(handler: Handler, _: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    handler.drip(b"x")

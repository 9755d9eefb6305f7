"""Real IIIF image servers on 127.0.0.1: iiif-processor under Node, and iipsrv behind FastCGI."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

IIIF_FOLDER = Path(__file__).parents[1] / "iiif"
IIPSRV = shutil.which("iipsrv.fcgi", path="/usr/lib/iipimage-server:/usr/libexec:/usr/bin") or ""

_BEGIN, _PARAMS, _STDIN, _STDOUT, _END = 1, 4, 5, 6, 3
_RESPONDER = 1


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    content: bytes


def install_node_modules() -> None:
    """Install what the lock file names, unless it is there."""
    marker = IIIF_FOLDER / "node_modules" / ".package-lock.json"
    lock = IIIF_FOLDER / "package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        # sharp comes as a ready-made package; no script of a package is run.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=IIIF_FOLDER, check=True, capture_output=True)


class IiifProcessor:
    """iiif-processor over HTTP."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/iiif/2"

    def get(self, path: str) -> Answer:
        """Ask for ``<id>/info.json`` or ``<id>/<region>/<size>/<rotation>/<quality>.<format>``."""
        answer = requests.get(f"{self._address}/{path}", timeout=60)
        return Answer(answer.status_code, answer.content)


@contextmanager
def iiif_processor(folder: Path, *, measured: bool) -> Iterator[IiifProcessor]:
    """Serve a folder of TIFFs; ``measured`` tells the server the sizes as an object's metadata does."""
    install_node_modules()
    command = ["node", "server.mjs", str(folder.absolute()), "measured" if measured else ""]
    with subprocess.Popen(command, cwd=IIIF_FOLDER, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield IiifProcessor(int(process.stdout.readline()))
        finally:
            process.kill()


class Iipsrv:
    """iipsrv over FastCGI (specification 1.0, one request a connection)."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> Answer:
        """Ask for a IIIF path as `IiifProcessor.get` does; the id is a file name without extension."""
        identifier, _, rest = path.partition("/")
        query = f"IIIF={identifier}.tif/{rest}"
        environment = {
            "QUERY_STRING": query,
            "REQUEST_METHOD": "GET",
            "HTTP_HOST": "127.0.0.1",
            "REQUEST_URI": f"/?{query}",
            "SERVER_PROTOCOL": "HTTP/1.1",
        }
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as connection:
            connection.sendall(
                _record(_BEGIN, struct.pack(">HB5x", _RESPONDER, 0))
                + _record(_PARAMS, b"".join(_pair(k, v) for k, v in environment.items()))
                + _record(_PARAMS, b"")
                + _record(_STDIN, b"")
            )
            output = _read_output(connection)
        head, _, body = output.partition(b"\r\n\r\n")
        lines = [line for line in head.decode("latin-1").split("\r\n") if line.lower().startswith("status:")]
        return Answer(int(lines[0].split()[1]) if lines else 200, body)


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content


def _pair(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack(">BI", len(key), len(text) | 1 << 31) + key + text


def _read_output(connection: socket.socket) -> bytes:
    output = b""
    with connection.makefile("rb") as stream:
        while header := stream.read(8):
            _, kind, _, length, padding = struct.unpack(">BBHHBx", header)
            content = stream.read(length)
            stream.read(padding)
            if kind == _STDOUT:
                output += content
            elif kind == _END:
                break
    return output


@contextmanager
def iipsrv(folder: Path) -> Iterator[Iipsrv]:
    """Serve a folder of TIFFs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"FILESYSTEM_PREFIX": f"{folder}/", "LOGFILE": str(folder / "iipsrv.log"), "VERBOSITY": "1"}
    command = [IIPSRV, "--bind", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield Iipsrv(port)
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < until, "iipsrv did not start"
            time.sleep(0.05)
        else:
            return

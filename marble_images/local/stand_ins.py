"""All stand-ins in one process: what runs as the child of :class:`marble_images.local.stack.LocalStack`."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from botocore.config import Config

from marble_images.local import appsync, aws, control, fault_shapes, google, layout, web
from marble_images.local.fault_layer import FaultLayer
from marble_images.local.faults import FaultBook
from marble_images.local.queue_table import Paging, QueueTable
from marble_images.local.s3_disk import S3Disk
from marble_images.local.secrets import StackSecrets, write_private
from marble_images.local.server import LoopbackServer
from marble_images.machine import collect_less

_PARENT_CHECK = 0.5


_LAYERS: dict[str, dict[str, Any]] = {
    "appsync": {
        "describe": lambda _environ, body: appsync.operations(body),
        "failure": fault_shapes.appsync_failure,
        "reads_body": True,
    },
    "aws": {
        "describe": lambda environ, _body: ([aws.operation(environ)], None),
        "failure": fault_shapes.aws_failure,
    },
    "uri": {
        "describe": lambda environ, _body: ([web.operation(environ["PATH_INFO"])], None),
        "failure": fault_shapes.web_failure,
    },
    "curate": {
        "describe": lambda _environ, _body: (["Download"], None),
        "failure": fault_shapes.web_failure,
    },
    "google": {
        "describe": lambda environ, _body: ([google.operation(environ)], None),
        "failure": fault_shapes.google_failure,
    },
}


class StandIns:
    """Every stand-in, serving.

    Parameters
    ----------
    folder
        Where they keep their state; ports are remembered in its ``stack.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = StackSecrets.load_or_make(folder)
        self._table = QueueTable(folder / "queue.sqlite")
        self._disk = S3Disk(folder / "s3")
        self._curate = web.CurateRules()
        web.make_folders(folder / "web")
        self._desk = google.TokenDesk(self.secrets.public_key, lambda: f"{self._url('google')}/token")
        self._book = FaultBook()
        self._prepared = threading.Event()
        self._servers: dict[str, LoopbackServer] = {}
        before = layout.read_ports(folder)
        self._serve(before)
        self._disk.load()
        for bucket in layout.BUCKETS:
            self._disk.make_bucket(bucket)
        # moto takes more than a second to load these, and S3 does not need them.
        threading.Thread(target=self._prepare_services, name="prepare", daemon=True).start()
        for name in ("uri", "curate"):
            self._follow(name, before)
        ports = {name: server.port for name, server in self._servers.items()}
        write_private(folder / "stack.json", json.dumps({"pid": os.getpid(), "ports": ports}, indent=2))

    def close(self) -> None:
        """Stop serving and close the files."""
        for server in self._servers.values():
            server.close()
        self._table.close()
        self._disk.close()

    def _url(self, name: str) -> str:
        return self._servers[name].url

    def _serve(self, ports: dict[str, int]) -> None:
        files = self.folder / "web"
        apps: dict[str, Any] = {
            "appsync": appsync.build_app(self._table, lambda: self.secrets.api_key),
            "aws": aws.build_app(self._disk, self._prepared),
            "uri": web.build_uri_app(files),
            "curate": web.build_curate_app(files, lambda: self._url("uri"), self._curate),
            "google": google.build_app(files, self._desk),
            "control": control.build_app(self._functions(), self.secrets.admin_key),
        }
        for name, app in apps.items():
            handler = {"handler": aws.AwsHandler} if name == "aws" else {}
            # Nothing misbehaves where the commands to do so come in.
            served = app if name == "control" else FaultLayer(app, name, self._book, **_LAYERS[name])
            if name == "aws":
                served = aws.unless_preparing(served, app)
            self._servers[name] = LoopbackServer(served, ports.get(name), **handler)

    def _prepare_services(self) -> None:
        try:
            self._fill_services(Config(user_agent_extra=aws.PREPARING))
        finally:
            self._prepared.set()

    def _fill_services(self, own: Config) -> None:
        ssm = layout.aws_client("ssm", self._url("aws"), own)
        account = google.service_account(self.secrets.private_key, self._url("google"))
        parameters = {
            layout.URL_PATH: f"{self._url('appsync')}/graphql",
            layout.KEY_PATH: self.secrets.api_key,
            layout.GOOGLE_PATH: json.dumps(account),
            layout.CURATE_PATH: self.secrets.curate_token,
        }
        for name, value in parameters.items():
            ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
        layout.aws_client("sns", self._url("aws"), own).create_topic(Name=layout.TOPIC)

    def _follow(self, name: str, before: dict[str, int]) -> None:
        # Records hold addresses; when a port was taken meanwhile, they move with it.
        port = before.get(name)
        if port not in (None, self._servers[name].port):
            self._table.readdress(f"http://127.0.0.1:{port}/", f"{self._url(name)}/")

    def _functions(self) -> dict[str, Callable[..., Any]]:
        table, disk = self._table, self._disk
        return {
            "ping": os.getpid,
            "reset": self._reset,
            "queue.put_records": table.put_records,
            "queue.seed_records": table.seed_records,
            "queue.records": table.records,
            "queue.images": table.images,
            "queue.touch": table.touch,
            "queue.remove": table.remove,
            "queue.set_paging": self._set_paging,
            "s3.link": self._link,
            "s3.clear": disk.clear,
            "curate.require_token": self._require_token,
            "google.expire_tokens": self._desk.expire,
            "faults.add": self._book.add,
            "faults.remove": self._book.remove,
            "faults.clear": self._clear_faults,
            "faults.hits": self._book.hits,
            "faults.requests": self._book.requests,
            "faults.forget_requests": self._book.forget_requests,
            "faults.refuse": lambda service, seconds: self._servers[service].close(seconds),
            "faults.accept": lambda service: self._servers[service].open(),
            "sns.messages": lambda: aws.published(layout.TOPIC),
        }

    def _link(self, bucket: str, key: str, path: str, content_type: str) -> str:
        return self._disk.link(bucket, key, Path(path), content_type)

    def _set_paging(self, **paging: int | None) -> None:
        self._table.paging = Paging(**paging)  # type: ignore[arg-type]

    def _require_token(self, required: bool) -> None:
        self._curate.token = self.secrets.curate_token if required else None

    def _clear_faults(self) -> None:
        self._book.clear()
        for server in self._servers.values():
            server.open()

    def _reset(self) -> None:
        self._clear_faults()
        self._table.clear()
        self._disk.clear()
        for bucket in layout.BUCKETS:
            self._disk.make_bucket(bucket)
        web.clear_folders(self.folder / "web")
        self._curate.token = None
        self._desk.expire()
        self._book.forget_requests()
        aws.forget_published(layout.TOPIC)


def run(folder: Path, parent: int) -> int:
    """Serve until stdin says so or ends, or the parent process is gone; the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "stack.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return layout.BUSY
    # Each open object and each connection needs a file descriptor.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stand_ins = StandIns(folder)
    collect_less()
    try:
        print("ready", flush=True)  # noqa: T201 - the parent waits for this line
        _wait_for_the_end(sys.stdin, parent)
    finally:
        stand_ins.close()
    return 0


def _wait_for_the_end(orders: IO[str], parent: int) -> None:
    # A process that the parent forked may hold the pipe open, so its end is not enough.
    while os.getppid() == parent:
        readable, _, _ = select.select([orders], [], [], _PARENT_CHECK)
        if readable:
            return

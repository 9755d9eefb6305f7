"""PostgreSQL as Debian packages it, run for the length of a test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path("/usr/lib/postgresql/15/bin")
HERE = "127.0.0.1"

_NOBODY = "postgres"


def why_not() -> str | None:
    """Why PostgreSQL 15 cannot be run here, if it cannot."""
    if not (BIN / "initdb").exists():
        return "PostgreSQL 15 is missing: apt-get install postgresql-15"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and setpriv is missing: apt-get install util-linux"
    return None


@dataclass(frozen=True)
class Postgres:
    """A server that takes TLS connections only, with a password, as RDS does."""

    port: int
    user: str
    password: str
    database: str

    @property
    def environment(self) -> dict[str, str]:
        """What libpq's own tools need."""
        return {
            "PGHOST": HERE,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGSSLMODE": "require",
        }


@contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """A server in ``folder``, gone with all of its data at the end."""
    server = Postgres(_free_port(), "dagster", "a password with %, @ and / in it", "dagster")
    folder.mkdir(parents=True)
    data, password = folder / "data", folder / "password"
    password.write_text(server.password)
    _give_away(folder)
    initdb = [BIN / "initdb", "--pgdata", data, "--username", server.user, "--pwfile", password]
    _run(*initdb, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync")
    _certify(data)
    (data / "pg_hba.conf").write_text(f"hostssl all all {HERE}/32 scram-sha-256\n")
    with (data / "postgresql.conf").open("a") as config:
        config.write(
            f"listen_addresses = '{HERE}'\nport = {server.port}\nunix_socket_directories = ''\n"
            "ssl = on\nfsync = off\nmax_connections = 200\n"
        )
    _give_away(folder)
    control = [BIN / "pg_ctl", "--pgdata", data, "--wait"]
    _run(*control, "--log", folder / "log", "start")
    try:
        subprocess.run(
            ["createdb", "--maintenance-db", "postgres", server.database],
            env={**os.environ, **server.environment, "PATH": f"{BIN}:{os.environ['PATH']}"},
            check=True,
        )
        yield server
    finally:
        _run(*control, "--mode", "immediate", "stop")


def _certify(data: Path) -> None:
    names = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-keyout", str(data / "server.key"), "-out", str(data / "server.crt")]
    subprocess.run(["openssl", "req", "-x509", *names, *files], check=True, capture_output=True)
    (data / "server.key").chmod(0o600)


def _give_away(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    # Folders of tests are private to root; the server must pass through them.
    for parent in [folder, *folder.parents]:
        if parent == Path("/"):
            break
        parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(["chown", "-R", _NOBODY, str(folder)], check=True)


def _run(*command: object) -> None:
    by = ["setpriv", "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups"] if os.geteuid() == 0 else []
    subprocess.run([*by, *map(str, command)], check=True, capture_output=True, cwd="/")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])

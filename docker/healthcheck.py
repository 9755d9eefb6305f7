#!/opt/marble-images/bin/python
"""Is this container's process working?  Exit status 0: yes.

``healthcheck [webserver|daemon|code-server|run]``; without an argument it looks at the command that the
container was started with. A run is healthy while it lives: Dagster watches its progress itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

TIMEOUT = 25
WEBSERVER = os.environ.get("HEALTHCHECK_WEBSERVER", "127.0.0.1:3000")
CODE_SERVER = os.environ.get("HEALTHCHECK_CODE_SERVER", "127.0.0.1:4000")


def webserver() -> bool:
    """The web server answers."""
    with urllib.request.urlopen(f"http://{WEBSERVER}/server_info", timeout=TIMEOUT) as response:
        return bool(response.status == 200)


def daemon() -> bool:
    """Every daemon wrote a heartbeat to the database lately."""
    check = subprocess.run(["dagster-daemon", "liveness-check"], timeout=TIMEOUT, check=False)  # noqa: S607
    return check.returncode == 0


def code_server() -> bool:
    """The code server serves, by gRPC's own health protocol."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(CODE_SERVER) as channel:
        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


CHECKS: dict[str, Callable[[], bool]] = {
    "webserver": webserver,
    "daemon": daemon,
    "code-server": code_server,
    "run": lambda: True,
}


def role(command: Sequence[str]) -> str:
    """Which of :data:`CHECKS` a container with this command needs."""
    names = {Path(word).name for word in command}
    if "dagster-webserver" in names:
        return "webserver"
    if "dagster-daemon" in names:
        return "daemon"
    return "code-server" if {"dagster", "api", "grpc"} <= names else "run"


def first_command() -> list[str]:
    """The command that the container was started with, behind an init process or not."""
    return Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")


def main(arguments: Sequence[str]) -> int:
    """Check and say on stderr what is wrong."""
    wanted = arguments[0] if arguments else role(first_command())
    try:
        healthy = CHECKS[wanted]()
    except Exception as error:  # noqa: BLE001  whatever it is, the container is not healthy
        print(f"healthcheck: {wanted}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

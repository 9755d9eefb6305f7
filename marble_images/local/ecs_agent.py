"""The ECS agent's stand-in: runs the container of each task as a process, and reports its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ecs.models import ecs_backends
from moto.moto_api import state_manager

from marble_images.local.layout import REGION

_POLL = 0.1
_STOP_SECONDS = 30.0

# What of this machine a container sees; all else comes from the task definition.
_INHERITED = ("PATH", "LANG", "LC_ALL", "NO_PROXY", "no_proxy", "SSL_CERT_FILE")


@dataclass
class Container:
    """One container: what it was asked to be, and its process.

    Attributes
    ----------
    process
        Its process, the leader of a group of its own.
    killed_by
        What ended it, when it was neither itself nor ECS.
    """

    id: str
    name: str
    task_arn: str
    cluster_arn: str
    definition: Mapping[str, Any]
    folder: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    stop_asked: float | None = None
    killed_by: str | None = None
    output: list[str] = field(default_factory=list)

    @property
    def stop_seconds(self) -> float:
        """How long it may take to end after SIGTERM."""
        return float(self.definition.get("stopTimeout", _STOP_SECONDS))

    def kill(self, reason: str = "OutOfMemoryError: Container killed due to memory usage") -> None:
        """Let it end as the kernel ends what needs too much memory: the whole container, at once."""
        self.killed_by = reason
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process, or, to kill, to all of them."""
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


class EcsAgent(threading.Thread):
    """Looks for tasks that moto accepted, runs them, stops them when asked and reports their end.

    Parameters
    ----------
    folder
        Each task gets a folder in it, with a folder for each of its volumes.
    cluster
        Name of the cluster.
    environment
        Variables that every container gets, over those of its definition.
    metadata_url
        The task metadata endpoint.
    secrets, logs
        Clients of Secrets Manager and CloudWatch Logs.

    Attributes
    ----------
    containers
        Every container that was ever started, by the id of its task.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cluster: str,
        environment: Mapping[str, str],
        metadata_url: str,
        secrets: Any,
        logs: Any,
    ) -> None:
        super().__init__(name="ecs-agent", daemon=True)
        self._folder = folder
        self._cluster = cluster
        self._environment = dict(environment)
        self._metadata_url = metadata_url
        self._secrets = secrets
        self._logs = logs
        self._closing = threading.Event()
        self.containers: dict[str, Container] = {}
        # moto would move a task on to its next state each time that it is described.
        state_manager.set_transition("ecs::task", {"progression": "manual", "times": 10**9})

    def run(self) -> None:
        """Work until :meth:`close`."""
        while not self._closing.wait(_POLL):
            for task in list(self._tasks().values()):
                self._attend(task)

    def close(self) -> None:
        """Kill what still runs."""
        self._closing.set()
        if self.is_alive():
            self.join()
        for container in self.containers.values():
            container.signal(signal.SIGKILL)
            container.process.wait()

    def _tasks(self) -> dict[str, Any]:
        backend = ecs_backends[DEFAULT_ACCOUNT_ID][REGION]
        tasks: dict[str, Any] = backend.tasks.get(self._cluster, {})
        return tasks

    def _attend(self, task: Any) -> None:
        container = self.containers.get(task.id)
        if container is None:
            if task.desired_status == "RUNNING":
                try:
                    self._start(task)
                except OSError as error:
                    self._stopped(task, None, f"CannotStartContainerError: {error}")
        elif task.containers[0].last_status != "STOPPED":
            self._follow(task, container)

    def _start(self, task: Any) -> None:
        backend = ecs_backends[DEFAULT_ACCOUNT_ID][REGION]
        definition = backend.describe_task_definition(task.task_definition_arn)
        wanted: Any = definition.container_definitions[0]
        folder = self._folder / task.id
        overrides = _override(task.overrides, wanted["name"])
        mounts = _mounts(wanted, folder)
        environment = {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            **{entry["name"]: entry["value"] for entry in wanted.get("environment", ())},
            **{entry["name"]: entry["value"] for entry in overrides.get("environment", ())},
            **{entry["name"]: self._secret(entry["valueFrom"]) for entry in wanted.get("secrets", ())},
            **self._environment,
            "ECS_CONTAINER_METADATA_URI_V4": f"{self._metadata_url}/v4/{task.id}",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self._credentials_of(definition.task_role_arn),
        }
        environment = {name: mounts.get(value, value) for name, value in environment.items()}
        workplace = Path(next(iter(mounts.values()), str(folder)))
        workplace.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [*wanted.get("entryPoint", ()), *(overrides.get("command") or wanted.get("command", ()))],
            env=environment,
            cwd=workplace,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        container = Container(
            id=task.id,
            name=wanted["name"],
            task_arn=task.task_arn,
            cluster_arn=task.cluster_arn,
            definition=wanted,
            folder=folder,
            environment=environment,
            process=process,
        )
        threading.Thread(target=self._ship_output, args=(container,), daemon=True).start()
        task.last_status = "RUNNING"
        task.containers[0].last_status = "RUNNING"
        self.containers[task.id] = container

    def _credentials_of(self, role_arn: str | None) -> str:
        return f"{self._metadata_url}/credentials/{(role_arn or 'none').rpartition('/')[2]}"

    def _secret(self, value_from: str) -> str:
        # arn:aws:secretsmanager:region:account:secret:name[:json key:version stage:version id]
        parts = value_from.split(":")
        text = self._secrets.get_secret_value(SecretId=":".join(parts[:7]))["SecretString"]
        key = parts[7] if len(parts) > 7 else ""
        return str(json.loads(text)[key]) if key else str(text)

    def _follow(self, task: Any, container: Container) -> None:
        status = container.process.poll()
        if status is not None:
            self._report(task, container, status)
        elif task.desired_status == "STOPPED":
            now = time.monotonic()
            if container.stop_asked is None:
                container.stop_asked = now
                container.signal(signal.SIGTERM)
            elif now - container.stop_asked > container.stop_seconds:
                container.signal(signal.SIGKILL)

    def _report(self, task: Any, container: Container, status: int) -> None:
        container.signal(signal.SIGKILL)  # a container ends with its first process
        self._stopped(task, status if status >= 0 else 128 - status, container.killed_by)

    @staticmethod
    def _stopped(task: Any, exit_code: int | None, reason: str | None) -> None:
        reported = task.containers[0]
        reported.exitCode = exit_code
        reported.reason = reason
        reported.last_status = "STOPPED"
        task.stop_code = "UserInitiated" if task.stopped_reason else "EssentialContainerExited"
        task.stopped_reason = task.stopped_reason or "Essential container in task exited"
        task.desired_status = "STOPPED"
        task.last_status = "STOPPED"

    def _ship_output(self, container: Container) -> None:
        """Send the output, line by line, to the file and the log stream that it belongs to."""
        options = container.definition.get("logConfiguration", {}).get("options", {})
        group = options.get("awslogs-group")
        stream = f"{options.get('awslogs-stream-prefix')}/{container.name}/{container.id}"
        if group:
            self._logs.create_log_stream(logGroupName=group, logStreamName=stream)
        assert container.process.stdout is not None
        with (container.folder / "output.log").open("ab") as file:
            for line in container.process.stdout:
                file.write(line)
                file.flush()
                text = line.decode(errors="replace").rstrip("\n") or " "
                container.output.append(text)
                if group:
                    event = {"timestamp": int(time.time() * 1000), "message": text}
                    self._logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])


def _override(overrides: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    asked = overrides.get("containerOverrides", ())
    found: Mapping[str, Any] = next((entry for entry in asked if entry.get("name") == name), {})
    return found


def _mounts(wanted: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The folders that stand for the container's mount points, by the paths they have in the container."""
    return {
        point["containerPath"]: str(folder / point["sourceVolume"]) for point in wanted.get("mountPoints", ())
    }

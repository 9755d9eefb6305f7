"""What the machine, or the container, gives a process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

_GROUPS = Path("/proc/self/cgroup")
_LIMITS = Path("/sys/fs/cgroup")

# Python's own, 700, suit programs that keep little.
_NEW_OBJECTS = 10_000


def collect_less() -> None:
    """Let Python look for cyclic garbage less often, and only among what is made from now on.

    For a process that ends with its work: walking through all that Dagster, boto3 or moto have loaded, again
    and again, takes a tenth to a third of its time. It freezes once in a process: what is garbage at that
    moment is kept for ever, and a process may have many runs.
    """
    if gc.get_freeze_count():
        return
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def memory(groups: Path = _GROUPS, limits: Path = _LIMITS) -> int:
    """Bytes of memory that this process and its children may use together.

    The machine's, or the least limit of the control groups that the process is in, which is how containers
    are held (Linux: Documentation/admin-guide/cgroup-v2.rst, ``memory.max``; cgroup-v1/memory.rst,
    ``memory.limit_in_bytes``).

    Parameters
    ----------
    groups
        Names the groups of the process.
    limits
        Where control groups are mounted.
    """
    return min([psutil.virtual_memory().total, *_limits_of(groups, limits)])


def _limits_of(groups: Path, limits: Path) -> Iterator[int]:
    for folder, name in _folders(groups, limits):
        # "max", or nothing at all: this group is not limited.
        with suppress(OSError, ValueError):
            yield max(1, int((folder / name).read_text()))


def _folders(groups: Path, limits: Path) -> Iterator[tuple[Path, str]]:
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = limits, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = limits / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path).relative_to("/")
        # In a container the path may be the host's, and then is not there: its root always is.
        for part in (group, *group.parents):
            yield root / part, name

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from marble_images.machine import collect_less, memory

GIB = 2**30
TOTAL = psutil.virtual_memory().total


def limit(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "cgroup" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(tmp_path: Path, groups: str) -> int:
    (tmp_path / "groups").write_text(groups)
    return memory(tmp_path / "groups", tmp_path / "cgroup")


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "67108864\n"}, 2**26),
        ("0::/\n", {"memory.max": "max\n"}, TOTAL),
        ("0::/a/b\n", {"a/memory.max": "67108864\n", "a/b/memory.max": "max\n"}, 2**26),
        ("0::/a/b\n", {"a/memory.max": "max\n", "a/b/memory.max": "99999999\n"}, 99999999),
        ("0::/not/there\n", {"memory.max": "67108864\n"}, 2**26),
        ("4:cpu,memory:/a\n1:name=x:/\n", {"memory/a/memory.limit_in_bytes": "67108864\n"}, 2**26),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, TOTAL),
        ("4:cpu:/\n", {"cpu/memory.max": "1\n"}, TOTAL),
        ("", {}, TOTAL),
    ],
)
def test_the_least_limit_of_the_groups_counts(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int
) -> None:
    for name, text in limits.items():
        limit(tmp_path, name, text)
    assert found(tmp_path, groups) == expected


def test_a_system_without_control_groups_has_the_machines_memory(tmp_path: Path) -> None:
    assert memory(tmp_path / "none", tmp_path) == TOTAL


class Ring:
    """Something that only a search for cycles can remove."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def as_it_was() -> Iterator[None]:
    # A test of a run may have been in this process before.
    gc.unfreeze()
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_what_is_loaded_is_not_walked_through_again_and_new_garbage_still_goes(as_it_was: None) -> None:
    gc.collect()
    loaded = len(gc.get_objects())
    collect_less()
    assert len(gc.get_objects()) < loaded / 10
    ring = weakref.ref(Ring())
    gc.collect()
    assert ring() is None


def test_garbage_of_one_run_is_not_kept_by_the_next(as_it_was: None) -> None:
    collect_less()
    ring = weakref.ref(Ring())
    collect_less()
    gc.collect()
    assert ring() is None

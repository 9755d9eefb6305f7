"""A running local stack for tests: started once a session, emptied for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from marble_images.local.stack import LocalStack


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The session's stack, in whatever state the last test left it."""
    with LocalStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def stack(running_stack: LocalStack) -> Iterator[LocalStack]:
    """The stack, empty, and this process's environment pointing at it and nowhere else."""
    running_stack.reset()
    with mock.patch.dict(os.environ):
        running_stack.apply(os.environ)
        yield running_stack

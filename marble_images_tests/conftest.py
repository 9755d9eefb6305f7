"""Fixtures for all tests."""

from marble_images_tests.appsync_cases import queue, server
from marble_images_tests.stack_fixture import running_stack, stack

__all__ = ["queue", "running_stack", "server", "stack"]

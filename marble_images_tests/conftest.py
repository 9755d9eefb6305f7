"""Fixtures for all tests."""

import signal

from marble_images_tests.appsync_cases import queue, server
from marble_images_tests.stack_fixture import running_stack, stack

__all__ = ["queue", "running_stack", "server", "stack"]

# A shell lets what it starts in the background ignore Ctrl-C; so would the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

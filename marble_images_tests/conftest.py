"""Fixtures for all tests."""

from marble_images_tests.stack_fixture import running_stack, stack

__all__ = ["running_stack", "stack"]

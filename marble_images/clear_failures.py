"""Failures of a step in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from marble_images.errors import MarbleImagesError


@contextmanager
def clear_failures() -> Iterator[None]:
    """Turn an error of ours into Dagster's failure: one line, its detail apart, and no retry of the step."""
    try:
        yield
    except MarbleImagesError as error:
        raise dg.Failure(
            description=error.reason,
            metadata={"detail": error.detail or "", "code": error.code},
            allow_retries=False,
        ) from None

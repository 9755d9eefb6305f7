"""The process in which images are decoded: started by `pool`, told what to do over a socket.

Answers are JSON, never a pickle: whoever takes over this process through a decoder must not get further.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import faulthandler
import json
import os
import resource
import signal
import sys
import traceback
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from marble_images.errors import (
    ConversionOutOfMemory,
    DecoderCrashed,
    MarbleImagesError,
    NoDiskSpace,
    PyramidTooLarge,
)
from marble_images.pyramid.model import ConvertOptions, Pyramid

READY = {"ready": True}

_PR_SET_PDEATHSIG = 1
# The kernel's limit is a net for bursts between two looks of the parent, which knows the real use.
_DATA_MARGIN = 256 * 2**20


def main(descriptor: int, parent: int, memory_limit: int) -> None:
    """Serve conversions until the parent closes its end.

    Parameters
    ----------
    descriptor
        The open socket to the parent.
    parent
        Process id of the parent.
    memory_limit
        Bytes.
    """
    _bind_to_life_of(parent)
    _limit(memory_limit)
    with Connection(descriptor) as connection:
        try:
            # Everything that a conversion needs is loaded before the first one's clock starts.
            import marble_images.pyramid.validate  # noqa: F401
            from marble_images.pyramid.convert import make_pyramid
        except MarbleImagesError as problem:
            _send(connection, failure(problem))
            return
        _send(connection, READY)
        # A parent that is gone needs no answer.
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while True:
                source, target, options = connection.recv()
                _send(connection, _convert(make_pyramid, source, target, options))


def _convert(make_pyramid: Any, source: Path, target: Path, options: ConvertOptions) -> dict[str, Any]:
    try:
        return success(make_pyramid(source, target, options))
    except MarbleImagesError as problem:
        return failure(ConversionOutOfMemory("out of memory") if _out_of_memory(problem) else problem)
    except Exception as problem:  # noqa: BLE001 - a fault in one decoder must not end the others' work
        return failure(_translated(problem))


def _translated(problem: Exception) -> MarbleImagesError:
    if _out_of_memory(problem):
        return ConversionOutOfMemory("out of memory")
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoDiskSpace("the work folder is full", detail=str(problem))
    if isinstance(problem, OSError) and problem.errno == errno.EFBIG:
        return PyramidTooLarge("the pyramid is larger than a file may be", detail=str(problem))
    return DecoderCrashed("the decoder crashed", detail="".join(traceback.format_exception(problem))[-4000:])


def _out_of_memory(problem: BaseException | None) -> bool:
    while problem is not None:
        text = f"{problem} {getattr(problem, 'detail', None)}".lower()
        if isinstance(problem, MemoryError) or "out of memory" in text or "unable to allocate" in text:
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def success(pyramid: Pyramid) -> dict[str, Any]:
    """A pyramid as a message."""
    fields = asdict(pyramid)
    fields["thumbnail"] = base64.b64encode(pyramid.thumbnail).decode("ascii")
    return {"pyramid": fields}


def failure(problem: MarbleImagesError) -> dict[str, Any]:
    """An error as a message."""
    return {"error": problem.code, "reason": problem.reason, "detail": problem.detail}


def _send(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode("utf-8", "backslashreplace"))


def _bind_to_life_of(parent: int) -> None:
    """Die with the parent, even if it is killed; elsewhere than on Linux its closed socket has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    # Ctrl-C is for the parent, which stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _limit(memory_limit: int) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_limit + _DATA_MARGIN
    if hard == resource.RLIM_INFINITY or soft <= hard:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

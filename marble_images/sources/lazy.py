"""Values that callers load from elsewhere, once, when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from marble_images.errors import FileError, SettingsError, SourceForbidden, SourceUnavailable

_T = TypeVar("_T")


class Lazy(Generic[_T]):
    """A value loaded by the first thread that needs it; a failure is not remembered.

    Parameters
    ----------
    load
        Gives the value.
    name
        What it is, for the error when it cannot be loaded.
    """

    def __init__(self, load: Callable[[], _T], name: str) -> None:
        self._load = load
        self._name = name
        self._lock = threading.Lock()
        self._loaded: list[_T] = []

    def get(self) -> _T:
        """The value.

        Raises
        ------
        FileError
            As :func:`load_safely`.
        """
        with self._lock:
            if not self._loaded:
                self._loaded.append(load_safely(self._load, self._name))
            return self._loaded[0]


def load_safely(load: Callable[[], _T], name: str) -> _T:
    """Call a caller's loader; the errors tell what could not be loaded, and nothing of its content.

    Raises
    ------
    SourceForbidden
        The loader says that a setting is missing or wrong.
    SourceUnavailable
        It failed in another way.
    """
    try:
        return load()
    except FileError:
        raise
    except SettingsError as err:
        raise SourceForbidden(f"{name} could not be loaded: {err.reason}") from None
    except Exception as err:  # noqa: BLE001 - the loader is the caller's, and may fail in any way
        raise SourceUnavailable(f"{name} could not be loaded", detail=type(err).__name__) from None

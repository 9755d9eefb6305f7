"""Conversions in processes of their own, as a Dagster resource."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from pydantic import Field

from marble_images.pyramid.pool import PyramidPool
from marble_images.settings import Settings


class ConversionResource(dg.ConfigurableResource):
    """The processes that run libvips: a crash, a hang or a memory blow-up costs one file."""

    processes: int | None = Field(default=None, description="Default: CONVERSION_PROCESSES, else the cores")
    deadline: float | None = Field(
        default=None, description="Seconds a conversion may take. Default: CONVERSION_DEADLINE, else 600"
    )
    memory_limit: int | None = Field(
        default=None, description="Bytes a conversion may need. Default: CONVERSION_MEMORY, else its share"
    )

    @contextmanager
    def pool(self, work_folder: Path) -> Iterator[PyramidPool]:
        """A pool for one run; its processes end with the block, unless :func:`pools_kept` keeps them."""
        settings = Settings.load()
        processes = self.processes or settings.processes
        limits = _Limits(
            processes,
            self.deadline or settings.conversion_deadline,
            self.memory_limit or settings.memory_of_one(processes),
        )
        kept = _kept.get()
        with limits.pool(work_folder) if kept is None else kept.pool(limits) as pool:
            yield pool


@dataclass(frozen=True)
class _Limits:
    processes: int
    deadline: float
    memory_limit: int

    def pool(self, work_folder: Path) -> PyramidPool:
        return PyramidPool(
            processes=self.processes,
            deadline=self.deadline,
            memory_limit=self.memory_limit,
            work_folder=work_folder,
        )


class _KeptPools:
    """Pools that outlive a run, one for each way to configure them."""

    def __init__(self, work_folder: Path, closing: ExitStack) -> None:
        self._work_folder = work_folder
        self._closing = closing
        self._pools: dict[_Limits, PyramidPool] = {}

    @contextmanager
    def pool(self, limits: _Limits) -> Iterator[PyramidPool]:
        if limits not in self._pools:
            self._pools[limits] = self._closing.enter_context(limits.pool(self._work_folder))
        try:
            yield self._pools[limits]
        except BaseException:
            # Conversions of a run that broke off must not go on in the next one's processes.
            self._pools.pop(limits).stop()
            raise


_kept: ContextVar[_KeptPools | None] = ContextVar("kept pools", default=None)


@contextmanager
def pools_kept(work_folder: Path) -> Iterator[None]:
    """Let the runs within the block, in this thread, share their conversion processes.

    Starting two costs a run half a second, which is what ten small files cost.
    """
    # Dagster makes the resources anew for each run, so they cannot hold it themselves.
    with ExitStack() as closing:
        token = _kept.set(_KeptPools(work_folder, closing))
        try:
            yield
        finally:
            _kept.reset(token)

"""Conversions in processes of their own, as a Dagster resource."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        deadline = self.deadline or settings.conversion_deadline
        memory_limit = self.memory_limit or settings.memory_of_one(processes)
        if _kept is not None:
            with _kept.pool(processes, deadline, memory_limit) as pool:
                yield pool
            return
        with PyramidPool(
            processes=processes, deadline=deadline, memory_limit=memory_limit, work_folder=work_folder
        ) as pool:
            yield pool


class _KeptPools:
    """Pools that outlive a run, one for each way to configure them."""

    def __init__(self, work_folder: Path, closing: ExitStack) -> None:
        self._work_folder = work_folder
        self._closing = closing
        self._pools: dict[tuple[int, float, int], PyramidPool] = {}

    @contextmanager
    def pool(self, processes: int, deadline: float, memory_limit: int) -> Iterator[PyramidPool]:
        key = processes, deadline, memory_limit
        if key not in self._pools:
            pool = PyramidPool(
                processes=processes,
                deadline=deadline,
                memory_limit=memory_limit,
                work_folder=self._work_folder,
            )
            self._pools[key] = self._closing.enter_context(pool)
        try:
            yield self._pools[key]
        except BaseException:
            # Conversions of a run that broke off must not go on in the next one's processes.
            self._pools.pop(key).stop()
            raise


_kept: _KeptPools | None = None


@contextmanager
def pools_kept(work_folder: Path) -> Iterator[None]:
    """Let the runs within the block, in this process, share their conversion processes.

    Starting two costs a run half a second, which is what ten small files cost.
    """
    # Dagster makes the resources anew for each run, so they cannot hold it themselves.
    global _kept
    with ExitStack() as closing:
        before, _kept = _kept, _KeptPools(work_folder, closing)
        try:
            yield
        finally:
            _kept = before

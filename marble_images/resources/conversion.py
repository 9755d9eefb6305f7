"""Conversions in processes of their own, as a Dagster resource."""

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
        default=None, description="Bytes a conversion may need. Default: CONVERSION_MEMORY, else 3 GiB"
    )

    def pool(self, work_folder: Path) -> PyramidPool:
        """A pool for one run; close it when the run ends."""
        settings = Settings.load()
        return PyramidPool(
            processes=self.processes or settings.processes,
            deadline=self.deadline or settings.conversion_deadline,
            memory_limit=self.memory_limit or settings.conversion_memory,
            work_folder=work_folder,
        )

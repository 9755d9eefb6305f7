"""Keeps the value of ``changed_files`` as JSON Lines in the state bucket, one object a day."""

import dagster as dg

from marble_images.clear_failures import clear_failures
from marble_images.models import ChangedFile
from marble_images.resources.buckets import StateResource


class DayListIOManager(dg.ConfigurableIOManager):
    """Stores each day's list of changed files where people and other programs can read it."""

    state: dg.ResourceDependency[StateResource]

    def handle_output(self, context: dg.OutputContext, obj: dict[str, list[ChangedFile]]) -> None:
        """Write one object for each day of the run."""
        store = self.state.store()
        with clear_failures():
            for day in context.asset_partition_keys:
                store.write_day(day, obj[day])

    def load_input(self, context: dg.InputContext) -> dict[str, list[ChangedFile]]:
        """Read the lists of the days that are asked for; a day without a list is not in the answer."""
        store = self.state.store()
        lists = {day: store.read_day(day) for day in context.asset_partition_keys}
        return {day: files for day, files in lists.items() if files is not None}

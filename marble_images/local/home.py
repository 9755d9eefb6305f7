"""The Dagster home of local commands: never the production instance that lies at the project's top."""

from __future__ import annotations

import json
from pathlib import Path

_DAGSTER_YAML = """\
# The instance of local commands: SQLite in this folder, nothing sent to anyone.
telemetry:
  enabled: false
nux:
  enabled: false
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
concurrency:
  runs:
    # Each run of pyramids uses all cores by itself.
    max_concurrent_runs: 2
run_monitoring:
  enabled: true
freshness:
  enabled: true
"""


def _configuration(home: Path) -> str:
    # Loaded here: Dagster takes seconds, and whoever only names the home needs none of it.
    from marble_images.sqlite_events import storage_config

    # What is JSON is YAML as well.
    return f"{_DAGSTER_YAML}event_log_storage: {json.dumps(storage_config(home))}\n"


def dagster_home(folder: Path) -> Path:
    """Make, or find, the Dagster home in the folder of the local stack."""
    home = folder.resolve() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    wanted = _configuration(home)
    if not config.exists() or config.read_text() != wanted:
        config.write_text(wanted)
    return home

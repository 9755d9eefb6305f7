"""The Dagster home of local commands: never the production instance that lies at the project's top."""

from __future__ import annotations

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


def dagster_home(folder: Path) -> Path:
    """Make, or find, the Dagster home in the folder of the local stack."""
    home = folder.resolve() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists() or config.read_text() != _DAGSTER_YAML:
        config.write_text(_DAGSTER_YAML)
    return home

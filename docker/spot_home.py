"""Write the instance configuration for runs on Fargate Spot: ``spot_home.py dagster.yaml TARGET``.

The launcher takes the capacity provider from its configuration only, and that cannot come from the
environment; so the image carries both, and the stack chooses by ``DAGSTER_HOME``.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

# Nine of ten runs on Spot: the tenth keeps a day going when Spot has no capacity.
STRATEGY = [
    {"capacityProvider": "FARGATE_SPOT", "weight": 9},
    {"capacityProvider": "FARGATE", "weight": 1},
]


def with_spot(instance: dict[str, Any]) -> dict[str, Any]:
    """The same instance with its runs on :data:`STRATEGY`."""
    launcher = instance["run_launcher"]
    config = {**launcher["config"], "run_task_kwargs": {"capacityProviderStrategy": STRATEGY}}
    return {**instance, "run_launcher": {**launcher, "config": config}}


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    spot = with_spot(yaml.safe_load(source.read_text(encoding="utf-8")))
    target.write_text(yaml.safe_dump(spot, sort_keys=False), encoding="utf-8")

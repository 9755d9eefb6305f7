"""One day of the pipeline, in a process of its own: what ``marble-images run`` does, timed.

``python -m benchmarks.day`` prints one line of JSON; the environment says where the stand-ins are.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections import Counter
from datetime import datetime

PHASES = ("check", "fetch", "wait", "convert", "validate", "upload", "mark")


def main() -> None:
    """Run today and tell what it took."""
    began = time.perf_counter()
    from marble_images.daily_run import dagster_instance, run_day

    loaded = time.perf_counter()
    listed: list[float] = []
    with dagster_instance() as instance:
        result = run_day(instance=instance, on_listed=lambda _: listed.append(time.perf_counter()))
    ended = time.perf_counter()
    phases: Counter[str] = Counter()
    for report in result.summary.reports:
        phases.update({name: seconds for name, seconds in report.seconds.items() if name in PHASES})
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        json.dumps(
            {
                "files": len(result.summary.reports),
                "made": sum(report.outcome.value == "made" for report in result.summary.reports),
                "reasons": dict(Counter(r.reason for r in result.summary.reports if r.reason)),
                "load": loaded - began,
                "list": listed[0] - loaded,
                "seconds": ended - loaded,
                "cpu": own.ru_utime + own.ru_stime,
                "children_cpu": children.ru_utime + children.ru_stime,
                "phases": {name: phases[name] for name in PHASES if name in phases},
                "bytes_in": sum(report.bytes_in for report in result.summary.reports),
                "bytes_out": sum(report.bytes_out for report in result.summary.reports),
                "ended": datetime.now().astimezone().isoformat(timespec="seconds"),
            }
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    main()

"""Faults at random: whatever their order, the promise holds, and without them everything converges."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marble_images.daily_run import DayFailed, run_day
from marble_images.local.stack import LocalStack
from marble_images.resources.sources import HOST_HEALTH
from marble_images_tests.promise.conftest import Sources, picture
from marble_images_tests.promise.faults import SOURCES
from marble_images_tests.promise.invariant import check_bucket, check_promise, files_left
from marble_images_tests.promise.runs import DAILY, reasons_of, reports_of

_PATHS = {kind: f"{kind.lower()}/1.jpg" for kind in SOURCES}

_ACTIONS = st.one_of(
    st.fixed_dictionaries(
        {"action": st.just("status"), "status": st.sampled_from([403, 404, 410, 429, 500, 502, 503])},
        optional={"retry_after": st.sampled_from(["0", "1", "9999", "soon"])},
    ),
    st.fixed_dictionaries(
        {"action": st.sampled_from(["reset", "hang"]), "when": st.sampled_from(["before", "mid", "after"])},
    ).map(lambda fault: {**fault, "seconds": 5}),
    st.fixed_dictionaries(
        {
            "action": st.just("truncate"),
            "fraction": st.sampled_from([0.0, 0.3, 0.99]),
            "length": st.sampled_from(["right", "wrong"]),
        }
    ),
    st.sampled_from(["corrupt", "replace", "redirect"]).map(lambda action: {"action": action}),
)
_PLACES = st.sampled_from(
    [
        {"service": "aws", "operation": "GetObject", "path": "/in/"},
        {"service": "aws", "operation": "PutObject", "path": "/images/"},
        {"service": "aws", "operation": "HeadObject", "path": "/images/"},
        {"service": "aws", "path": "/state/"},
        {"service": "uri"},
        {"service": "curate"},
        {"service": "google"},
        {"service": "appsync", "operation": "getFileToProcessRecord"},
        {"service": "appsync", "operation": "saveFileLastProcessedDate"},
        {"service": "appsync", "operation": "removeItemToProcess"},
    ]
)
_SCHEDULES = st.lists(
    st.builds(
        lambda place, action, skip, times: {**place, **action, "skip": skip, "times": times},
        _PLACES,
        _ACTIONS,
        st.integers(0, 3),
        st.sampled_from([1, 2, 5, None]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(schedule=_SCHEDULES)
def test_the_promise_holds_in_any_schedule_of_faults(
    stack: LocalStack,
    sources: Sources,
    instance: dg.DagsterInstance,
    work: Path,
    schedule: list[dict[str, Any]],
) -> None:
    stack.reset()
    HOST_HEALTH.forget()
    for number, (kind, path) in enumerate(_PATHS.items()):
        sources.put(kind, path, picture(shade=number))
    paths = list(_PATHS.values())
    for fault in schedule:
        stack.faults.add(**fault)
    reports = reports_of(instance, paths, remake=False)
    stack.faults.clear()
    # A server that says so twice is believed.
    lying = {"aws": "S3", "uri": "Uri", "curate": "Curate", "google": "Museum"}
    gone = [f["service"] for f in schedule if f.get("status") in (404, 410) and f["service"] in lying]
    # What Curate stores is on the same server as the files of Uri.
    believed = [lying[service] for service in gone] + ["Curate"] * ("uri" in gone)
    missing = [_PATHS[kind] for kind in believed]
    check_promise(stack, paths, reasons=reasons_of(paths, reports), may_be_removed=missing)
    check_bucket(stack)
    assert files_left(work) == []
    HOST_HEALTH.forget()
    left = [path for path in paths if stack.appsync.record(path) is not None]
    if left:
        reports_of(instance, left, **DAILY)
    ends = check_promise(stack, paths, may_be_removed=missing)
    assert ends.published == set(left), ends.waiting


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_thousand_files_converge_and_none_is_removed_wrongly(
    stack: LocalStack,
    sources: Sources,
    instance: dg.DagsterInstance,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FILES_PER_RUN", "250")
    monkeypatch.setenv("SOURCE_READ_TIMEOUT", "10")
    monkeypatch.setenv("SOURCE_DEADLINE", "60")
    monkeypatch.setenv("APPSYNC_READ_TIMEOUT", "20")
    contents = [picture(40, 30, shade=shade) for shade in range(20)]
    paths = [f"{number % 7}/{number:04}.jpg" for number in range(1000)]
    missing = set(paths[::100])
    for number, path in enumerate(paths):
        if path in missing:
            sources.s3(path, None)
        else:
            sources.put(SOURCES[number % 4], path, contents[number % 20])
    for day in range(12):
        for number, (probability, fault) in enumerate(_TEN_PERCENT):
            seed = day * len(_TEN_PERCENT) + number
            for service in ("aws", "uri", "curate", "google", "appsync"):
                where = {"path": "/in/|/images/"} if service == "aws" else {}
                stack.faults.add(service=service, probability=probability, seed=seed, **where, **fault)
        reasons: dict[str, str | None] = dict.fromkeys(paths, "the list could not be made")
        with suppress(DayFailed):
            reports = run_day(instance=instance).summary.reports
            reasons = {report.file_path: report.reason for report in reports}
        # The faults are for the run, not for those who look at what it left.
        stack.faults.clear()
        ends = check_promise(stack, paths, reasons=reasons, may_be_removed=missing)
        if not ends.waiting:
            break
    assert ends.removed == missing
    assert ends.published == set(paths) - missing
    assert files_left(work) == []


_TEN_PERCENT: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.05, {"action": "status", "status": 500}),
    (0.02, {"action": "reset", "when": "mid"}),
    (0.01, {"action": "reset", "when": "after"}),
    (0.01, {"action": "truncate", "length": "wrong"}),
    (0.01, {"action": "status", "status": 429, "retry_after": "0"}),
)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_images.models import FileReport, Outcome
from marble_images.pipeline.run import Fuse
from marble_images.pipeline.summary import (
    RunSummary,
    markdown_table,
    report_from_json,
    report_json,
)

REPORTS = st.lists(
    st.builds(
        FileReport,
        file_path=st.text(min_size=1),
        outcome=st.sampled_from(Outcome),
        code=st.none() | st.sampled_from(["queue", "source-gone"]),
        reason=st.none() | st.text(),
        width=st.none() | st.integers(1, 4000),
        bytes_in=st.integers(0, 10**9),
        warnings=st.lists(st.text()).map(tuple),
    ),
    unique_by=lambda report: report.file_path,
)


@given(REPORTS)
def test_the_outcomes_add_up_to_what_was_listed(reports: list[FileReport]) -> None:
    summary = RunSummary(len(reports), reports)
    summary.check()
    assert sum(summary.counts.values()) == summary.listed
    assert set(summary.counts) == set(Outcome)


def test_a_file_that_is_lost_or_counted_twice_is_noticed() -> None:
    report = FileReport("a", Outcome.MADE)
    with pytest.raises(AssertionError, match="2 files listed, 1 accounted for"):
        RunSummary(2, [report]).check()
    with pytest.raises(AssertionError, match="two outcomes"):
        RunSummary(2, [report, report]).check()


@given(REPORTS)
def test_reports_come_back_from_json_but_for_empty_values(reports: list[FileReport]) -> None:
    for report in reports:
        back = report_from_json(report_json(report))
        assert (back.file_path, back.outcome, back.bytes_in) == (
            report.file_path,
            report.outcome,
            report.bytes_in,
        )
        assert back.warnings == report.warnings


def test_failed_files_come_first_and_ten_are_named() -> None:
    reports = [FileReport("z", Outcome.MADE)]
    reports += [FileReport(f"f{i:02}", Outcome.FAILED, reason=f"reason {i}") for i in range(12)]
    summary = RunSummary(13, reports)
    assert [report.outcome for report in summary.in_order()][:12] == [Outcome.FAILED] * 12
    message = summary.failure_message()
    assert message.startswith("12 of 13 files failed: f00: reason 0; f01: reason 1")
    assert "f09: reason 9; and 2 more" in message
    assert "f10" not in message


def test_a_reason_that_all_failures_share_is_told_once() -> None:
    reports = [FileReport(f"f{i:02}", Outcome.FAILED, reason="the key is refused") for i in range(12)]
    message = RunSummary(12, reports).failure_message()
    assert message.startswith("12 of 12 files failed: the key is refused (f00, f01, ")
    assert message.endswith("f09 and 2 more)")


def test_a_strange_id_does_not_break_the_table() -> None:
    lines = markdown_table([FileReport("a|b\nc<script>", Outcome.FAILED, reason="x|y")]).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| a\\|b c&lt;script> | failed |  |  |  | x\\|y |"


@pytest.mark.parametrize(
    ("gone", "listed", "blows"),
    [
        (1, 1, False),
        (9, 9, False),
        (2, 10, False),
        (3, 10, True),
        (20, 1000, False),
        (21, 1000, True),
        (0, 50, False),
    ],
)
def test_the_fuse_blows_beyond_its_number_or_share(gone: int, listed: int, blows: bool) -> None:
    assert Fuse().blows(gone, listed) is blows

"""What a day came to, over all its runs: an asset that no run makes, as it is known when the last ended."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import AssetRecordsFilter

from marble_images.failures import meaning_of
from marble_images.models import FileReport, Outcome
from marble_images.partitions import daily_partitions
from marble_images.pipeline.summary import RunSummary
from marble_images.settings import Settings

DAY_RESULTS = dg.AssetKey("day_results")
NOTHING_FAILED = "every_file_was_made"

_ROWS_SHOWN = 100
_NOT_MADE = (Outcome.FAILED, Outcome.QUARANTINED, Outcome.LEFT)

day_partitions = daily_partitions(Settings.load().first_day)

day_results = dg.AssetSpec(
    DAY_RESULTS,
    deps=["changed_files"],
    partitions_def=day_partitions,
    group_name="marble_images",
    kinds={"json"},
    owners=["team:digital-collections"],
    tags={"report": "daily"},
    description=(
        "How a day ended: of the files on its list, how many were made, found current, removed, failed or "
        "set aside, and why. Written when the last of the day's runs has ended; a run that is done again "
        "later replaces what it repeats. Files that failed are in the tables, by reason and by name."
    ),
)


def result_metadata(
    summary: RunSummary, run_of: dict[str, str], *, runs: int, seconds: float, list_uri: str, link: str | None
) -> dict[str, Any]:
    """What a person finds on the day's page.

    Parameters
    ----------
    summary
        One report for each file of the list.
    run_of
        The run of each file that was not made, by file id.
    runs
        Runs that took part.
    seconds
        Wall time from the start of the first run to the end of the last.
    list_uri
        Where the day's list is.
    link
        The day's runs in the UI, if its address is known.
    """
    counts = {outcome.value: count for outcome, count in summary.counts.items()}
    not_made = [report for report in summary.in_order() if report.outcome in _NOT_MADE]
    metadata: dict[str, Any] = {
        "listed": summary.listed,
        **counts,
        "reconciliation": summary.reconciliation(),
        "GB in": round(sum(report.bytes_in for report in summary.reports) / 1e9, 3),
        "GB out": round(_bytes_made(summary) / 1e9, 3),
        "runs": runs,
        "seconds": round(seconds, 1),
        "seconds of work": round(sum(sum(report.seconds.values()) for report in summary.reports), 1),
        "by reason": _by_reason(summary),
        "files that were not made": _not_made(not_made[:_ROWS_SHOWN], run_of),
        "list": dg.MetadataValue.url(list_uri),
    }
    if link:
        metadata["the day's runs"] = dg.MetadataValue.url(link)
    return metadata


def _bytes_made(summary: RunSummary) -> int:
    return sum(report.bytes_out for report in summary.reports if report.outcome is Outcome.MADE)


def _by_reason(summary: RunSummary) -> dg.TableMetadataValue:
    return _table(
        ("reason", "files", "meaning"),
        [(code, str(count), meaning_of(code)) for code, count in summary.by_reason().items()],
    )


def _not_made(reports: Sequence[FileReport], run_of: dict[str, str]) -> dg.TableMetadataValue:
    return _table(
        ("file", "outcome", "reason", "run"),
        [(r.file_path, r.outcome.value, r.reason or "", run_of.get(r.file_path, "")) for r in reports],
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in columns]),
    )


def evaluation(day: str, result: dg.AssetMaterialization) -> dg.AssetCheckEvaluation:
    """The event that turns the asset red or green by its newest day."""
    failed, quarantined = (int(str(result.metadata[name].value)) for name in ("failed", "quarantined"))
    said = f"{failed} files failed" if failed else "no file failed"
    return dg.AssetCheckEvaluation(
        asset_key=DAY_RESULTS,
        check_name=NOTHING_FAILED,
        passed=failed == 0,
        description=f"{day}: {said}; {quarantined} are set aside after failing before.",
        metadata={"day": day, "failed": failed, "quarantined": quarantined},
    )


# Without partitions: Dagster stores an evaluation of a partition only once unless a run makes it.
@dg.asset_check(
    asset=DAY_RESULTS,
    name=NOTHING_FAILED,
    description="No file of the newest day's list failed. Evaluated when the day's runs have ended.",
)
def every_file_was_made(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Read the newest day's result again."""
    days = context.instance.get_materialized_partitions(DAY_RESULTS)
    if not days:
        raise dg.Failure(description="no day has a result yet", allow_retries=False)
    read = evaluation(max(days), _result(context.instance, max(days)))
    return dg.AssetCheckResult(passed=read.passed, description=read.description, metadata=read.metadata)


def _result(instance: dg.DagsterInstance, day: str) -> dg.AssetMaterialization:
    found = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=DAY_RESULTS, asset_partitions=[day]), limit=1
    ).records
    result = found[0].asset_materialization
    assert result is not None
    return result

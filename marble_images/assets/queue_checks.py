"""The checks of `changed_files`: whether the queue grows, and what is set aside."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

import dagster as dg

from marble_images.assets.changed_files import changed_files
from marble_images.days import day_bounds
from marble_images.models import ChangedFile
from marble_images.partitions import daily_partitions
from marble_images.resources import StateResource
from marble_images.settings import Settings
from marble_images.state import FailureEntry, StateStore

LONG = timedelta(days=3)
"""A file that waits for longer is named by the check."""

NOT_GROWING, KNOWN = "queue_is_not_growing", "quarantine_is_known"

_ROWS_SHOWN = 100
_days = daily_partitions(Settings.load().first_day)


@dg.multi_asset_check(
    name="check_queue",
    specs=[
        dg.AssetCheckSpec(
            NOT_GROWING,
            asset=changed_files,
            partitions_def=_days,
            description="No more files wait for over three days than on the list before.",
        ),
        dg.AssetCheckSpec(
            KNOWN,
            asset=changed_files,
            partitions_def=_days,
            description="Warns while files are set aside because their source cannot be made into a pyramid.",
        ),
    ],
    # A run over many days evaluates each day; outputs that are required would be one for all.
    can_subset=True,
)
def check_queue(
    context: dg.AssetCheckExecutionContext, state: StateResource
) -> Iterator[dg.AssetCheckEvaluation]:
    """Read the stored lists of the run's days and the failures on record."""
    op, store = context.op_execution_context, state.store()
    selected = {key.name for key in op.selected_asset_check_keys}
    for day in sorted(op.partition_keys):
        files = store.read_day(day)
        if files is None:
            context.log.warning("%s has no list to check", day)
            continue
        for evaluation in evaluations(day, files, store):
            if evaluation.check_name in selected:
                op.log_event(evaluation)  # type: ignore[arg-type]
    yield from ()


def evaluations(
    day: str, files: Sequence[ChangedFile], store: StateStore
) -> Iterator[dg.AssetCheckEvaluation]:
    """The checks of one day's list."""
    failures = store.failures_of(files)
    waiting = waiting_long(files, _as_of(day))
    before = _waiting_before(day, store)
    yield _evaluation(
        NOT_GROWING,
        day,
        passed=before is None or len(waiting) <= before,
        description=f"{len(waiting)} files wait for over three days"
        + ("." if before is None else f"; on the list before there were {before}."),
        metadata={
            "files": len(waiting),
            "files on the list before": before,
            "longest first": _waiting_table(waiting[:_ROWS_SHOWN], failures),
        },
    )
    aside = [entry for entry in failures.values() if entry.quarantined]
    yield _evaluation(
        KNOWN,
        day,
        passed=not aside,
        description=f"{len(aside)} files are set aside." if aside else "No file is set aside.",
        metadata={"files": len(aside), "set aside": _aside_table(aside[:_ROWS_SHOWN])},
    )


def waiting_long(files: Sequence[ChangedFile], moment: datetime) -> list[ChangedFile]:
    """The files that waited for over three days at a moment, the longest first; undated ones are first."""
    oldest = datetime.min.replace(tzinfo=timezone.utc)
    long = [file for file in files if file.waiting and (file.changed_at or oldest) < moment - LONG]
    return sorted(long, key=lambda file: (file.changed_at or oldest, file.file_path))


def _as_of(day: str) -> datetime:
    return min(day_bounds(day)[1], datetime.now(timezone.utc))


def _waiting_before(day: str, store: StateStore) -> int | None:
    earlier = [known for known in store.list_days() if known < day]
    files = store.read_day(earlier[-1]) if earlier else None
    return None if files is None else len(waiting_long(files, day_bounds(earlier[-1])[1]))


def _evaluation(
    name: str, day: str, *, passed: bool, description: str, metadata: Mapping[str, object]
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=changed_files.key,
        check_name=name,
        passed=passed,
        partition=day,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={key: value for key, value in metadata.items() if value is not None},  # type: ignore[misc]
    )


def _waiting_table(
    files: Sequence[ChangedFile], failures: Mapping[str, FailureEntry]
) -> dg.TableMetadataValue:
    return _table(
        ("file", "waits since", "source", "last failure"),
        [
            (
                file.file_path,
                file.date_added_to_dynamo or "unknown",
                file.source_type or "",
                failures[file.file_path].reason if file.file_path in failures else "",
            )
            for file in files
        ],
    )


def _aside_table(entries: Sequence[FailureEntry]) -> dg.TableMetadataValue:
    return _table(
        ("file", "reason", "code", "failures", "first failed", "last failed"),
        [
            (e.file_path, e.reason, e.code, str(e.failures), e.first_failed, e.last_failed)
            for e in sorted(entries, key=lambda entry: entry.last_failed, reverse=True)
        ],
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in columns]),
    )

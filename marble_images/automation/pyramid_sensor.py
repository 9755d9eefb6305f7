"""From a day's list to runs that make its pyramids."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import dagster as dg
from dagster import AssetRecordsFilter, EventLogRecord
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
)

from marble_images.assets.changed_files import changed_files
from marble_images.assets.pyramid_tiffs import DAY_TAG, make_pyramids
from marble_images.automation.daily_schedule import COMMAND, TRIGGER_TAG, tags_of
from marble_images.partitions import IMAGE_FILES, contiguous_runs, partition_key
from marble_images.resources import StateResource
from marble_images.settings import Settings
from marble_images.state import StateStore

MOST_RUNS_A_TICK = 200
"""Dagster gives a tick 60 s; launching is what takes them."""

_LISTS_A_TICK = 400
_FILES_IN_A_RUN_OF_THE_COMMAND = 200

REMAKE_TAG = "marble/remake"
"""Tag that a person gives a backfill of ``changed_files``: ``true`` makes current pyramids again too."""

pyramid_tiffs_job = dg.define_asset_job(
    "pyramid_tiffs_job",
    selection=dg.AssetSelection.assets("pyramid_tiffs"),
    description="Makes the pyramids of the chosen image files.",
)


@dataclass(frozen=True)
class Cursor:
    """How far the sensor has come.

    Attributes
    ----------
    after
        Storage id of the newest list whose pyramids were all asked for.
    asked
        Of the next list, the last key that was asked for, when one tick was not enough for it.
    """

    after: int = 0
    asked: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Read a stored cursor; none is the beginning."""
        return cls(**json.loads(text)) if text else cls()

    def __str__(self) -> str:
        return json.dumps({"after": self.after, "asked": self.asked})


@dg.sensor(
    job=pyramid_tiffs_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for the pyramids of every list of changed files that is made.",
)
def pyramids_of_changed_files(
    context: dg.SensorEvaluationContext, state: StateResource
) -> dg.SensorResult | dg.SkipReason:
    """Ask for the pyramids of each new list, as runs of neighbouring partitions.

    Reads the stored list, never AppSync. A tick asks for at most :data:`MOST_RUNS_A_TICK` runs and goes on
    in the next. Run keys are made from the list and the keys of the run, so a tick that is repeated asks
    for no run twice.
    """
    cursor = Cursor.parse(context.cursor)
    records = context.instance.fetch_materializations(
        AssetRecordsFilter(asset_key=changed_files.key, after_storage_id=cursor.after),
        limit=_LISTS_A_TICK,
        ascending=True,
    ).records
    if not records:
        return dg.SkipReason("no new list of changed files")
    store = state.store()
    requests, cursor = _requests(context, cursor, records, store)
    return dg.SensorResult(run_requests=requests, cursor=str(cursor))


def _requests(
    context: dg.SensorEvaluationContext,
    cursor: Cursor,
    records: Sequence[EventLogRecord],
    store: StateStore,
) -> tuple[list[dg.RunRequest], Cursor]:
    keys = context.instance.get_dynamic_partitions(IMAGE_FILES)
    positions = {key: position for position, key in enumerate(keys)}
    settings = Settings.load()
    requests: list[dg.RunRequest] = []
    asked_now: set[str] = set()
    remade_now: set[str] = set()
    origin_of = lru_cache(maxsize=1)(partial(_origin, context.instance))
    for record in records:
        day = record.partition_key
        files = store.read_day(day) if day else None
        if day is None or files is None:
            context.log.warning(f"the list of {day} is no longer stored; no pyramid is asked for")
            cursor = Cursor(after=record.storage_id)
            continue
        origin = origin_of(record.run_id)
        remake = origin.remake or _asks_to_remake(record)
        # A file that waits is in the list of every day since: one run is enough for all that this tick sees.
        # One that is to be made again is asked for though an earlier list has asked for it without that.
        wanted = {partition_key(file.file_path) for file in files} - (remade_now if remake else asked_now)
        runs = contiguous_runs(wanted, positions, files_in_a_run(settings, origin.trigger))
        for run in _still_to_ask(runs, positions, cursor.asked):
            if len(requests) == MOST_RUNS_A_TICK:
                return requests, cursor
            requests.append(_request(record, day, run, origin.trigger, remake=remake))
            asked_now.update(run)
            remade_now.update(run if remake else ())
            cursor = Cursor(after=cursor.after, asked=run[-1])
        cursor = Cursor(after=record.storage_id)
    return requests, cursor


def files_in_a_run(settings: Settings, trigger: str) -> int:
    """Most files of one run.

    The command's runs follow one another, where the daemon's go side by side: each costs it half a second
    more, and the time in which the first sources arrive and the last pyramids leave.
    """
    if trigger == COMMAND and "files_per_run" not in settings.model_fields_set:
        return _FILES_IN_A_RUN_OF_THE_COMMAND
    return settings.files_per_run


def _still_to_ask(
    runs: Iterator[Sequence[str]], positions: Mapping[str, int], asked: str | None
) -> Iterator[Sequence[str]]:
    # A key that was retired meanwhile has no position: then all is asked for again, and run keys weed it out.
    done = positions.get(asked, -1) if asked is not None else -1
    return (run for run in runs if positions[run[-1]] > done)


@dataclass(frozen=True)
class Origin:
    """What the run that made a list was: who asked for it, and whether all is to be made again."""

    trigger: str
    remake: bool


def _origin(instance: dg.DagsterInstance, run_id: str) -> Origin:
    run = instance.get_run_by_id(run_id)
    tags = run.tags if run else {}
    otherwise = "backfill" if BACKFILL_ID_TAG in tags else "person"
    remake = tags.get(REMAKE_TAG, "").lower() == "true"
    return Origin(tags.get(TRIGGER_TAG, otherwise), remake)


def _request(
    record: EventLogRecord, day: str, run: Sequence[str], trigger: str, *, remake: bool
) -> dg.RunRequest:
    digest = hashlib.sha256("\n".join(run).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    tags = {DAY_TAG: day} | tags_of(trigger)
    if len(run) > 1:
        tags |= {ASSET_PARTITION_RANGE_START_TAG: run[0], ASSET_PARTITION_RANGE_END_TAG: run[-1]}
    config = {"remake": remake, "retry_quarantined": False}
    return dg.RunRequest(
        run_key=f"{record.storage_id}-{digest}",
        partition_key=run[0] if len(run) == 1 else None,
        tags=tags,
        run_config={"ops": {make_pyramids.op.name: {"config": config}}},
    )


def list_of(request: dg.RunRequest) -> int:
    """Storage id of the list that a run was asked for."""
    return int(str(request.run_key).partition("-")[0])


def _asks_to_remake(record: EventLogRecord) -> bool:
    materialization = record.asset_materialization
    value = materialization.metadata.get("remake") if materialization else None
    return bool(value is not None and value.value)

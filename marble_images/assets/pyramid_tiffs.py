"""The pyramid TIFF of each image file, made by an op that takes the keys of its run, one or a range."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import RESUME_RETRY_TAG
from pydantic import Field

from marble_images import RULES_VERSION
from marble_images.assets.changed_files import changed_files
from marble_images.assets.pyramid_checks import CHECKS, findings_of, look_again
from marble_images.assets.pyramid_events import (
    last_materialization,
    materialization_of,
    observation_of,
    plain_metadata,
)
from marble_images.clear_failures import clear_failures
from marble_images.days import day_of
from marble_images.machine import collect_less
from marble_images.models import FileReport, Outcome
from marble_images.partitions import file_path_of, image_file_partitions, partition_key
from marble_images.pipeline.one_file import Options, Services
from marble_images.pipeline.progress import publish
from marble_images.pipeline.run import Fuse, run_files
from marble_images.pipeline.summary import RunSummary, markdown_table
from marble_images.pipeline.work_folder import work_folder
from marble_images.pyramid.profiles import get_profile
from marble_images.resources import (
    AppSyncResource,
    ConversionResource,
    ImageBucketResource,
    SourcesResource,
    StateResource,
)
from marble_images.settings import Settings
from marble_images.sqlite_events import events_kept_open

DAY_TAG = "marble/day"
"""Tag of a run that the sensor asked for: the day whose list named its files."""


class PyramidConfig(dg.Config):
    """What a person may choose when making pyramids by hand; the defaults are production's."""

    remake: bool = Field(
        default=True,
        description="Make the pyramid again even when the bucket holds a current one. The daily runs do not.",
    )
    retry_quarantined: bool = Field(
        default=True,
        description="Try files that are set aside after failing three times. The daily runs do not.",
    )
    profile: str | None = Field(
        default=None, description="How pyramids are compressed. Default: the setting PROFILE, else deflate."
    )
    files_in_flight: int | None = Field(
        default=None, ge=1, description="Files worked on at once. Default: the setting TRANSFERS."
    )


@dg.multi_asset(
    name="make_pyramids",
    specs=[
        dg.AssetSpec(
            "pyramid_tiffs",
            partitions_def=image_file_partitions,
            # Any list may name a file, so no new list makes a pyramid stale; only new rules do.
            deps=[dg.AssetDep(changed_files, partition_mapping=dg.AllPartitionMapping())],
            skippable=True,
            group_name="marble_images",
            kinds={"tiff", "s3"},
            owners=["team:digital-collections"],
            tags={"target": "iiif"},
            code_version=RULES_VERSION,
            description=(
                "The tiled pyramid TIFF of one image file, in the bucket that the IIIF server reads. "
                "Materializing a partition fetches the file from its source, makes its pyramid, checks it, "
                "uploads it and reports its size to AppSync."
            ),
        )
    ],
    check_specs=CHECKS,
    # The outputs of checks are optional only in an asset that can be subset: failed files have none.
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=Settings.load().files_per_run),
    pool="pyramids",
)
def make_pyramids(
    context: dg.AssetExecutionContext,
    config: PyramidConfig,
    appsync: AppSyncResource,
    image_bucket: ImageBucketResource,
    state: StateResource,
    sources: SourcesResource,
    conversion: ConversionResource,
) -> Iterator[dg.AssetMaterialization]:
    """Make the pyramids of the run's files; a failure of one file is that file's alone.

    Each file that is done is logged at once, so that a run that dies keeps what it made. At the end the run
    fails if any of its files failed, and names them. A run of checks alone downloads the published pyramids
    and looks at them again.
    """
    collect_less()
    keys = {file_path_of(key): key for key in context.partition_keys}
    with clear_failures(), events_kept_open(context.instance):
        settings = Settings.load()
        with work_folder(settings.work_folder) as folder:
            if not context.selected_asset_keys:
                _look_again(context, keys, appsync, image_bucket, folder)
                return
            with conversion.pool(folder) as pool:
                services = Services(
                    appsync.queue(), image_bucket.images(), state.store(), sources.fetcher(), pool
                )
                summary = RunSummary(listed=len(keys))
                reports = run_files(
                    list(keys),
                    services,
                    _options(config, settings, _made_before(context)),
                    folder=folder,
                    threads=config.files_in_flight or settings.files_in_flight,
                    fuse=Fuse(
                        settings.max_removed, settings.max_removed_fraction, settings.max_removed_a_day
                    ),
                )
                # Closed at once when the run is interrupted, so that no thread begins another file.
                with closing(reports):
                    for report in reports:
                        summary.reports.append(report)
                        publish(report)
                        _log(context, report, keys[report.file_path], summary, settings)
                _finish(context, summary, services)
    yield from ()
    if summary.failures:
        raise dg.Failure(
            description=summary.failure_message(),
            metadata={
                "reconciliation": summary.reconciliation(),
                "files": dg.MetadataValue.md(markdown_table(summary.in_order())),
            },
            allow_retries=False,
        )


def _options(config: PyramidConfig, settings: Settings, made_before: frozenset[str]) -> Options:
    return Options(
        remake=config.remake,
        keep=made_before,
        retry_quarantined=config.retry_quarantined,
        profile=get_profile(config.profile or settings.profile).name,
        max_pixels=settings.max_pixels,
    )


def _made_before(context: dg.AssetExecutionContext) -> frozenset[str]:
    """The files that the runs made that this one repeats from their failure."""
    made: set[str] = set()
    run: dg.DagsterRun | None = context.run
    while run is not None and run.parent_run_id and run.tags.get(RESUME_RETRY_TAG) == "true":
        records = context.instance.get_records_for_run(
            run.parent_run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
        made |= {file_path_of(record.partition_key) for record in records if record.partition_key}
        run = context.instance.get_run_by_id(run.parent_run_id)
    return frozenset(made)


def _look_again(
    context: dg.AssetExecutionContext,
    keys: Mapping[str, str],
    appsync: AppSyncResource,
    image_bucket: ImageBucketResource,
    folder: Path,
) -> None:
    found = look_again(
        keys,
        appsync.queue().get_records(list(keys)),
        lambda key: plain_metadata(last_materialization(context.instance, key)),
        image_bucket.images(),
        folder=folder,
        checks={check.name for check in context.selected_asset_check_keys},
    )
    for key, findings in found:
        for finding in findings:
            context.log_event(finding.evaluation(key))
            if not finding.passed:
                context.log.warning("%s: %s: %s", key, finding.check, finding.description)


def _log(
    context: dg.AssetExecutionContext, report: FileReport, key: str, summary: RunSummary, settings: Settings
) -> None:
    before = last_materialization(context.instance, key) if report.outcome is Outcome.CURRENT else None
    materialization = materialization_of(report, key, settings, before)
    if materialization is not None:
        context.log_event(materialization)
    observation = observation_of(report, key)
    if observation is not None:
        context.log_event(observation)
    selected = {check.name for check in context.selected_asset_check_keys}
    for finding in findings_of(report):
        if finding.check in selected:
            context.log_event(finding.evaluation(key))
    if report.reason:
        place = f"{len(summary.reports)}/{summary.listed}"
        line = f"{place} {report.file_path}: {report.outcome.value}: {report.reason}"
        context.log.warning(f"{line} [{report.detail}]" if report.detail else line)


def _finish(context: dg.AssetExecutionContext, summary: RunSummary, services: Services) -> None:
    summary.check()
    day = context.run.tags.get(DAY_TAG) or day_of(datetime.now(timezone.utc))
    context.log.info(f"{summary.reconciliation()}\n\n{markdown_table(summary.in_order())}")
    services.state.write_run_report(context.run.run_id, summary.as_json() | {"day": day})


__all__ = ["DAY_TAG", "PyramidConfig", "make_pyramids", "partition_key"]

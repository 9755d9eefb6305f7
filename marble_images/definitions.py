"""What Dagster loads."""

from __future__ import annotations

import dagster as dg

from marble_images.assets import changed_files, check_queue, day_results, every_file_was_made, make_pyramids
from marble_images.automation import (
    alerts,
    changed_files_job,
    daily_changed_files,
    housekeeping_job,
    pyramid_tiffs_job,
    pyramids_of_changed_files,
    results_of_days,
    weekly_housekeeping,
)
from marble_images.resources import (
    AlertTopicResource,
    AppSyncResource,
    ConversionResource,
    ImageBucketResource,
    S3ClientResource,
    SourcesResource,
    SSMParametersResource,
    StateResource,
)
from marble_images.resources.day_lists import DayListIOManager

s3 = S3ClientResource()
ssm = SSMParametersResource()
state = StateResource(s3=s3)

defs = dg.Definitions(
    assets=[changed_files, make_pyramids, day_results],
    asset_checks=[check_queue, every_file_was_made],
    jobs=[changed_files_job, pyramid_tiffs_job, housekeeping_job],
    schedules=[daily_changed_files, weekly_housekeeping],
    sensors=[pyramids_of_changed_files, results_of_days, alerts],
    resources={
        "appsync": AppSyncResource(ssm=ssm),
        "image_bucket": ImageBucketResource(s3=s3),
        "state": state,
        "alert_topic": AlertTopicResource(),
        "sources": SourcesResource(s3=s3, ssm=ssm),
        "conversion": ConversionResource(),
        "day_lists": DayListIOManager(state=state),
    },
    # One step a run, and processes of its own for libvips: another process for the step would cost 2 s a run.
    executor=dg.in_process_executor,
)

"""What Dagster loads."""

from __future__ import annotations

import dagster as dg

from marble_images.assets import changed_files, make_pyramids
from marble_images.automation import (
    changed_files_job,
    daily_changed_files,
    pyramid_tiffs_job,
    pyramids_of_changed_files,
)
from marble_images.resources import (
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
    assets=[changed_files, make_pyramids],
    jobs=[changed_files_job, pyramid_tiffs_job],
    schedules=[daily_changed_files],
    sensors=[pyramids_of_changed_files],
    resources={
        "appsync": AppSyncResource(ssm=ssm),
        "image_bucket": ImageBucketResource(s3=s3),
        "state": state,
        "sources": SourcesResource(s3=s3, ssm=ssm),
        "conversion": ConversionResource(),
        "day_lists": DayListIOManager(state=state),
    },
    # One step a run, and processes of its own for libvips: another process for the step would cost 2 s a run.
    executor=dg.in_process_executor,
)

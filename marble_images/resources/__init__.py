"""Dagster's configuration around the plain clients of AppSync, S3, the sources and the conversions.

A field left out takes its value from the environment variable that its description names, read when a run
or a tick asks for it. ``EnvVar`` would do that for what is required, with a stack trace where one line
should stand; and it has no notion of a setting that may be missing.
"""

from marble_images.resources.alerts import AlertTopicResource
from marble_images.resources.appsync import AppSyncResource
from marble_images.resources.aws import S3ClientResource, SSMParametersResource
from marble_images.resources.buckets import ImageBucketResource, StateResource
from marble_images.resources.conversion import ConversionResource
from marble_images.resources.sources import SourcesResource

__all__ = [
    "AlertTopicResource",
    "AppSyncResource",
    "ConversionResource",
    "ImageBucketResource",
    "S3ClientResource",
    "SSMParametersResource",
    "SourcesResource",
    "StateResource",
]

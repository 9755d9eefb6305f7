"""The image bucket and the state bucket as Dagster resources."""

import dagster as dg
from pydantic import Field

from marble_images.failure_log import deciding_settings
from marble_images.publishing import ImageBucket
from marble_images.resources.aws import S3ClientResource
from marble_images.settings import Settings, required_setting
from marble_images.state import StateStore


class ImageBucketResource(dg.ConfigurableResource):
    """The bucket that the IIIF server reads."""

    s3: dg.ResourceDependency[S3ClientResource]
    bucket: str | None = Field(default=None, description="Default: IMAGE_BUCKET")

    def images(self) -> ImageBucket:
        """The client.

        Raises
        ------
        SettingsError
            The bucket's name is not set.
        """
        return ImageBucket(self.s3.get_client(), self.bucket or required_setting("image_bucket"))


class StateResource(dg.ConfigurableResource):
    """Where the pipeline keeps its day lists, reports and quarantine; never the public image bucket."""

    s3: dg.ResourceDependency[S3ClientResource]
    bucket: str | None = Field(default=None, description="Default: STATE_BUCKET")
    prefix: str | None = Field(default=None, description="Default: STATE_PREFIX, else marble-images/")

    def store(self) -> StateStore:
        """The client.

        Raises
        ------
        SettingsError
            The bucket's name is not set.
        """
        bucket = self.bucket or required_setting("state_bucket")
        settings = Settings.load()
        deciding = {name: str(getattr(settings, name)) for name in deciding_settings()}
        return StateStore(self.s3.get_client(), bucket, self.prefix or settings.state_prefix, deciding)

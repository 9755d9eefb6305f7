"""The image bucket and the state bucket as Dagster resources."""

import dagster as dg
from pydantic import Field

from marble_images.publishing import ImageBucket
from marble_images.resources.aws import S3ClientResource
from marble_images.settings import Settings
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
        settings = Settings.load()
        if not self.bucket:
            settings.require("image_bucket")
        return ImageBucket(self.s3.get_client(), str(self.bucket or settings.image_bucket))


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
        settings = Settings.load()
        if not self.bucket:
            settings.require("state_bucket")
        return StateStore(
            self.s3.get_client(),
            str(self.bucket or settings.state_bucket),
            self.prefix or settings.state_prefix,
        )

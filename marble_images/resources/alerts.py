"""The SNS topic of alerts as a Dagster resource."""

import boto3
import dagster as dg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from marble_images.errors import MarbleImagesError, SettingsError
from marble_images.settings import Settings

_LONGEST_SUBJECT = 100
_ARN_PARTS = 6


class AlertNotSent(MarbleImagesError):
    """SNS did not take the alert."""

    code = "alert-not-sent"


class AlertTopicResource(dg.ConfigurableResource):
    """Publishes alerts to one SNS topic; nothing is sent while none is set."""

    topic_arn: str | None = Field(default=None, description="Default: ALERT_TOPIC_ARN; unset: no alerts")

    def topic(self) -> str | None:
        """The topic's ARN, or ``None`` when alerts are off."""
        return self.topic_arn or Settings.load().alert_topic_arn

    def publish(self, subject: str, message: str) -> None:
        """Send one message.

        Raises
        ------
        SettingsError
            The topic's ARN is none.
        AlertNotSent
            SNS refused it or could not be reached; says why.
        """
        topic = self.topic() or ""
        parts = topic.split(":")
        if len(parts) != _ARN_PARTS or parts[2] != "sns":
            raise SettingsError(f"ALERT_TOPIC_ARN cannot be used: {topic!r} is not the ARN of an SNS topic")
        config = Config(
            connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"}
        )
        try:
            client = boto3.Session().client("sns", region_name=parts[3], config=config)
            client.publish(TopicArn=topic, Subject=_ascii(subject)[:_LONGEST_SUBJECT], Message=message)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error")
            raise AlertNotSent(f"SNS refused the alert: {code}", detail=str(error)) from None
        except BotoCoreError as error:
            raise AlertNotSent(
                f"SNS could not be reached: {type(error).__name__}", detail=str(error)
            ) from None


def _ascii(subject: str) -> str:
    # SNS takes subjects of printable ASCII only.
    return "".join(char if " " <= char <= "~" else "?" for char in subject)

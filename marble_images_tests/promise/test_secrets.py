"""No secret is in anything that a day writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from marble_images.local import layout
from marble_images.local.home import dagster_home
from marble_images.local.stack import LocalStack
from marble_images_tests.promise.commands import Command
from marble_images_tests.promise.conftest import IMPATIENT, Sources

_AWS_SECRET = "aws-secret-that-nobody-may-see-7Qk2"
_QUERY = "query-secret-that-nobody-may-see-9Zt4"


def written(stack: LocalStack, log: Path, home: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that a day has written, by a name of the place."""
    yield "output", log.read_bytes()
    for path in home.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    for bucket in (layout.STATE_BUCKET, layout.IMAGE_BUCKET):
        for page in stack.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                found = stack.s3.get_object(Bucket=bucket, Key=item["Key"])
                yield f"metadata of {bucket}/{item['Key']}", repr(found["Metadata"]).encode()
                yield f"{bucket}/{item['Key']}", found["Body"].read()


def test_no_secret_is_in_anything_that_is_written(
    stack: LocalStack, sources: Sources, tmp_path: Path
) -> None:
    stack.require_curate_token()
    for kind in ("S3", "Uri", "Curate", "Museum"):
        for end in ("good", "refused", "failing", "cut"):
            sources.put(kind, f"{kind}/{end}.jpg")
    secret = f"{stack.web.put_uri('signed.jpg', b'no image')}?X-Signature={_QUERY}"
    sources.record("Uri/signed.jpg", sourceType="Uri", sourceUri=secret)
    # Each fault quotes, in its own way, what it was asked.
    for end, fault in (
        ("refused", {"action": "status", "status": 403}),
        ("failing", {"action": "status", "status": 500}),
        ("cut", {"action": "reset", "when": "mid"}),
    ):
        names = "|".join(
            [f"in/S3/{end}", f"/Uri/{end}"] + [Sources.name(f"{k}/{end}.jpg") for k in ("Curate", "Museum")]
        )
        stack.faults.add(service=None, path=names, **fault)
    stack.faults.add("graphql_errors", service="appsync", body="Uri/good", content=stack.secrets.api_key)
    home = dagster_home(tmp_path)
    environment = {
        **stack.environment,
        **IMPATIENT,
        "AWS_SECRET_ACCESS_KEY": _AWS_SECRET,
        "LOGLEVEL": "DEBUG",
    }
    environment |= {"DAGSTER_HOME": str(home), "WORK_FOLDER": str(tmp_path / "work")}
    log = tmp_path / "run.log"
    with Command("run", environment=environment, log=log) as command:
        assert command.ended() == 3, command.output
    private_key = [line for line in stack.secrets.private_key.splitlines() if len(line) > 40]
    secrets = {
        "AppSync's key": [stack.secrets.api_key],
        "Curate's token": [stack.secrets.curate_token],
        "Google's private key": [*private_key, stack.secrets.private_key.replace("\n", "\\n")],
        "an access token of Google": ["ya29."],
        "the AWS secret": [_AWS_SECRET],
    }
    searched = 0
    for place, content in written(stack, log, home):
        searched += 1
        for name, values in secrets.items():
            assert not any(value.encode() in content for value in values), f"{name} is in {place}"
        # The day's list is the records as they are; nothing else repeats the query of an address.
        if f"{layout.STATE_BUCKET}/marble-images/days/" not in place:
            assert _QUERY.encode() not in content, f"the query of an address is in {place}"
    assert searched > 20
    assert sources.of("Curate/good.jpg").get("dateLastProcessed"), "the token was used"
    assert sources.of("Museum/good.jpg").get("dateLastProcessed"), "the account was used"

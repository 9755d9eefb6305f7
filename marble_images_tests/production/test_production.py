"""Production on one machine: real PostgreSQL, the real launcher, the stack's own task definitions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tifffile
from PIL import Image

from marble_images.local.layout import IMAGE_BUCKET, SOURCE_BUCKET
from marble_images.local.stack import LocalStack
from marble_images_tests.deploy.synthesis import NO_NODE, has_node, synthesize
from marble_images_tests.local.records import record
from marble_images_tests.production import postgres
from marble_images_tests.production.deployed import DEPLOYMENT, LOG_BUCKET, Deployed, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not has_node, reason=NO_NODE),
    pytest.mark.skipif(postgres.why_not() is not None, reason=str(postgres.why_not())),
]

LARGEST_OVERRIDES = 8192
"""Characters that ECS allows for the overrides of a task, as JSON."""

DAY = [f"day/page {number}.jpg" for number in range(5)]
GONE = "day/gone.jpg"

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")


@pytest.fixture(scope="module")
def deployed(running_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("production")
    description = folder / "deployment.json"
    description.write_text(json.dumps(DEPLOYMENT))
    synthesis = synthesize(description, folder / "cdk")
    assert synthesis.status == 0, synthesis.said
    running_stack.reset()
    seed_the_day(running_stack, folder)
    with (
        postgres.running(folder / "postgres") as server,
        Deployed(folder, synthesis, server, running_stack) as stack,
    ):
        yield stack


@pytest.fixture(scope="module")
def day_run(deployed: Deployed) -> dict[str, Any]:
    """The run that the schedule asked for, ended."""

    def look() -> dict[str, Any] | None:
        found = runs(deployed, "changed_files_job", **{"dagster/schedule_name": "daily_changed_files"})
        return found[0] if found and found[0]["status"] in FINISHED else None

    return until("the schedule's run has ended", look, seconds=420)


@pytest.fixture(scope="module")
def pyramid_run(deployed: Deployed, day_run: dict[str, Any]) -> dict[str, Any]:
    """The run that the sensor asked for, ended."""

    def look() -> dict[str, Any] | None:
        found = runs(deployed, "pyramid_tiffs_job", **{"dagster/sensor_name": "pyramids_of_changed_files"})
        return found[0] if found and found[0]["status"] in FINISHED else None

    return until("the sensor's run has ended", look, seconds=420)


@pytest.fixture(autouse=True)
def every_call_is_allowed(deployed: Deployed) -> Iterator[None]:
    """Whatever a test made the tasks do, the roles of the stack allow it."""
    yield
    assert list(deployed.refused()) == []


def seed_the_day(stack: LocalStack, folder: Path) -> None:
    picture = folder / "page.jpg"
    Image.effect_noise((1400, 1000), 40).save(picture, quality=90)
    for path in DAY:
        stack.s3.upload_file(str(picture), SOURCE_BUCKET, path)
    stack.appsync.put_records(in_s3(path) for path in [*DAY, GONE])


def in_s3(path: str, **fields: Any) -> dict[str, Any]:
    return record(path, sourceType="S3", sourceBucketName=SOURCE_BUCKET, sourceFilePath=path, **fields)


RUNS = """
query Runs($job: String, $tags: [ExecutionTag!]) {
  runsOrError(filter: {pipelineName: $job, tags: $tags}) {
    ... on Runs { results { runId status jobName: pipelineName tags { key value } } }
  }
}
"""


STOP = "mutation Stop($run: String!) { terminateRun(runId: $run) { __typename } }"


def runs(deployed: Deployed, job: str | None = None, **tags: str) -> list[dict[str, Any]]:
    """The runs of a job with these tags, the newest first."""
    wanted = [{"key": key, "value": value} for key, value in tags.items()]
    found = deployed.graphql(RUNS, job=job, tags=wanted)["runsOrError"]["results"]
    return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]


def run_of(deployed: Deployed, run_id: str) -> dict[str, Any]:
    (found,) = runs(deployed, **{".dagster/run_id": run_id}) or [
        run for run in runs(deployed) if run["runId"] == run_id
    ]
    return found


def ended(deployed: Deployed, run_id: str) -> str | None:
    status = run_of(deployed, run_id)["status"]
    return str(status) if status in FINISHED else None


def events(deployed: Deployed, run_id: str) -> str:
    """All messages of a run's event log."""
    query = """
    query Logs($run: ID!) {
      logsForRun(runId: $run) { ... on EventConnection { events { ... on MessageEvent { message } } } }
    }
    """
    logged = deployed.graphql(query, run=run_id)["logsForRun"]["events"]
    return "\n".join(event.get("message", "") for event in logged)


def retries_looked_at(deployed: Deployed) -> None:
    """Wait until the daemon that retries runs has looked at all that has happened so far."""
    now = time.time()
    query = """
    { instance { daemonHealth { daemonStatus(daemonType: "EVENT_LOG_CONSUMER") { lastHeartbeatTime } } } }
    """

    def look() -> bool:
        status = deployed.graphql(query)["instance"]["daemonHealth"]["daemonStatus"]
        # It looks every five seconds and reports itself at most every thirty.
        return bool(status["lastHeartbeatTime"] > now + 10)

    until("the daemon has looked", look)


def launch(deployed: Deployed, path: str, **tags: str) -> str:
    """Ask, as the UI does, for one file's pyramid; the run's id."""
    selector = {"repositoryName": "__repository__", "repositoryLocationName": "marble_images"}
    added = deployed.graphql(
        """
        mutation Add($selector: RepositorySelector!, $key: String!) {
          addDynamicPartition(
            repositorySelector: $selector, partitionsDefName: "image_files", partitionKey: $key
          ) { __typename }
        }
        """,
        selector=selector,
        key=path,
    )
    assert added["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    launched = deployed.graphql(
        """
        mutation Launch($params: ExecutionParams!) {
          launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
        }
        """,
        params={
            "selector": {**selector, "pipelineName": "pyramid_tiffs_job"},
            "mode": "default",
            "executionMetadata": {
                "tags": [
                    {"key": key, "value": value} for key, value in {"dagster/partition": path, **tags}.items()
                ]
            },
        },
    )
    assert launched["launchRun"]["__typename"] == "LaunchRunSuccess", launched
    return str(launched["launchRun"]["run"]["runId"])


def hanging_file(stack: LocalStack, name: str) -> str:
    """A file that is not waiting, at a source that says nothing."""
    (stack.folder / "web/uri" / name).write_bytes(b"never sent")
    stack.appsync.put_records(
        [
            record(
                name, sourceType="Uri", sourceUri=f"{stack.url('uri')}/{name}", dateLastProcessed="2024-01-01"
            )
        ]
    )
    return name


def started(deployed: Deployed, run_id: str) -> Any:
    """Wait until a run's process works on its file; its container."""

    def look() -> Any:
        return run_of(deployed, run_id)["status"] == "STARTED" and deployed.container_of(run_id)

    return until(f"run {run_id} has started", look)


class TestADay:
    """From the schedule's tick to pyramids."""

    def test_the_schedule_launches_the_days_run_through_ecs(
        self, deployed: Deployed, day_run: dict[str, Any]
    ) -> None:
        assert day_run["status"] == "SUCCESS", events(deployed, day_run["runId"])
        assert day_run["tags"]["dagster/partition"] == deployed.tick.date().isoformat()
        assert day_run["tags"]["dagster/schedule_name"] == "daily_changed_files"
        container = deployed.container_of(day_run["runId"])
        assert container is not None
        assert day_run["tags"]["ecs/task_arn"] == container.task_arn
        assert container.process.wait(60) == 0

    def test_the_sensor_follows_and_pyramids_are_in_the_bucket(
        self, deployed: Deployed, pyramid_run: dict[str, Any], tmp_path: Path
    ) -> None:
        assert pyramid_run["tags"]["dagster/sensor_name"] == "pyramids_of_changed_files"
        for path in DAY:
            local = tmp_path / "one.tif"
            deployed.local.s3.download_file(IMAGE_BUCKET, path.replace(".jpg", ".tif"), str(local))
            with tifffile.TiffFile(local) as pyramid:
                assert [page.shape[:2] for page in pyramid.pages] == [(1000, 1400), (500, 700), (250, 350)]
            queued = deployed.local.appsync.record(path)
            assert queued is not None
            assert (queued["width"], queued["height"]) == (1400, 1000)
        assert deployed.local.appsync.record(GONE) is None
        assert pyramid_run["status"] == "SUCCESS", events(deployed, pyramid_run["runId"])

    def test_compute_logs_are_in_the_log_bucket(self, deployed: Deployed, day_run: dict[str, Any]) -> None:
        def look() -> list[str]:
            listed = deployed.local.s3.list_objects_v2(Bucket=LOG_BUCKET, Prefix="compute-logs/")
            return [entry["Key"] for entry in listed.get("Contents", ()) if day_run["runId"] in entry["Key"]]

        assert until("the day's compute log", look)

    def test_the_alarm_sees_that_the_list_was_made(self, deployed: Deployed, day_run: dict[str, Any]) -> None:
        """The metric filter's words are in a line of the run's log stream, as CloudWatch gets it."""
        _, metric = deployed.synthesis.only("AWS::Logs::MetricFilter")
        words = [word.strip('"') for word in metric["FilterPattern"].split()]
        container = deployed.container_of(day_run["runId"])
        assert container is not None
        stream = f"run/run/{container.id}"
        logged = deployed.ecs.client("logs").get_log_events(
            logGroupName=metric["LogGroupName"]["Ref"], logStreamName=stream, limit=10_000
        )["events"]
        assert [e for e in logged if all(word in e["message"] for word in words)]

    def test_nothing_is_written_beside_the_configuration(
        self, deployed: Deployed, pyramid_run: dict[str, Any]
    ) -> None:
        """On AWS it is read-only. Folders for telemetry are tried for in vain: telemetry is off."""
        files = [path.name for path in deployed.home.rglob("*") if path.is_file()]
        assert files == ["dagster.yaml"]

    def test_overrides_fit_into_what_ecs_allows(
        self, deployed: Deployed, pyramid_run: dict[str, Any]
    ) -> None:
        sizes = [len(json.dumps(asked["overrides"])) for asked in deployed.run_tasks()]
        assert sizes
        assert max(sizes) < LARGEST_OVERRIDES


def test_cancelling_a_run_stops_its_task(deployed: Deployed) -> None:
    path = hanging_file(deployed.local, "cancelled.jpg")
    with deployed.local.faults.on("hang", service="uri", path=path):
        run_id = launch(deployed, path)
        container = started(deployed, run_id)
        deployed.graphql(STOP, run=run_id)
        until("the task has stopped", lambda: container.process.poll() is not None)
    assert container.stop_asked is not None
    assert until("the run has ended", lambda: ended(deployed, run_id)) == "CANCELED"


def test_a_task_killed_for_its_memory_is_found_and_retried_once(deployed: Deployed) -> None:
    path = hanging_file(deployed.local, "killed.jpg")

    def kill(run_id: str) -> dict[str, Any]:
        started(deployed, run_id).kill()
        assert until("run monitoring has found it", lambda: ended(deployed, run_id)) == "FAILURE"
        return run_of(deployed, run_id)

    def retry() -> str | None:
        found = runs(deployed, **{"dagster/parent_run_id": first})
        return found[0]["runId"] if found else None

    with deployed.local.faults.on("hang", service="uri", path=path):
        first = launch(deployed, path)
        kill(first)
        reason = events(deployed, first)
        assert "exit code 137" in reason
        second = until("it is retried", retry)
        killed_again = kill(second)
    assert killed_again["tags"]["dagster/retry_number"] == "1"
    retries_looked_at(deployed)
    assert runs(deployed, **{"dagster/parent_run_id": second}) == []


def test_backfills_leave_room_for_the_day(deployed: Deployed) -> None:
    """Six runs of a backfill: four start and two wait, and the day's run starts all the same."""
    paths = [hanging_file(deployed.local, f"starving-{number}.jpg") for number in range(7)]

    def statuses(asked: list[str]) -> list[str]:
        found = {run["runId"]: run["status"] for run in runs(deployed)}
        return sorted(found[run_id] for run_id in asked)

    with deployed.local.faults.on("hang", service="uri", path="starving-"):
        backfill = [launch(deployed, path, **{"marble/trigger": "backfill"}) for path in paths[:6]]
        until("four have started", lambda: statuses(backfill).count("STARTED") == 4)
        day = launch(deployed, paths[6], **{"marble/trigger": "daily"})
        started(deployed, day)
        assert statuses(backfill) == ["QUEUED"] * 2 + ["STARTED"] * 4
        for run_id in [*backfill, day]:
            deployed.graphql(STOP, run=run_id)
        until("all have ended", lambda: set(statuses([*backfill, day])) == {"CANCELED"})


@pytest.mark.parametrize(
    "answer",
    [
        {"action": "status", "status": 400, "reason": "ThrottlingException"},
        {
            "action": "replace",
            "content": json.dumps(
                {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time."}]}
            ),
            "content_type": "application/x-amz-json-1.1",
        },
    ],
    ids=["throttled", "no capacity"],
)
def test_a_run_that_ecs_does_not_take_at_once_is_asked_for_again(
    deployed: Deployed, answer: dict[str, Any]
) -> None:
    path = hanging_file(deployed.local, f"{answer['action']}.jpg")
    number = deployed.ecs.faults.add({**answer, "service": "ecs", "operation": "RunTask", "times": 2})
    run_id = launch(deployed, path)
    assert until("the run has ended", lambda: ended(deployed, run_id)) in ("SUCCESS", "FAILURE")
    assert deployed.ecs.faults.hits(number) == 2
    assert sum(run_id in json.dumps(task) for task in started_tasks(deployed)) == 1


def started_tasks(deployed: Deployed) -> list[Any]:
    return [container.process.args for container in deployed.containers("run")]

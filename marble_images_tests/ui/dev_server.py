"""`marble-images dev` as a person starts it, for tests that talk to its UI and API."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests

from marble_images.local.stack import LocalStack

ROOT = Path(__file__).parents[2]
Found = TypeVar("Found")
DEMO_FAILED = "Relief/sea-floor/etopo1-003.jpg"

STATUSES = """
query($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  assetPartitionStatuses { __typename
    ... on DefaultPartitionStatuses { materializedPartitions failedPartitions materializingPartitions
                                      unmaterializedPartitions }
    ... on TimePartitionStatuses { ranges { startKey endKey status } } } } } }
"""
RUNS = """
query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
  runId status jobName tags { key value } } } } }
"""
KEYS = """
query($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  partitionKeysByDimension { partitionKeys } } } }
"""
HISTORY = """
query($asset: AssetKeyInput!, $keys: [String!]) { assetOrError(assetKey: $asset) { ... on Asset {
  assetEventHistory(partitions: $keys, limit: 100,
                    eventTypeSelectors: [MATERIALIZATION, FAILED_TO_MATERIALIZE, OBSERVATION]) { results {
    ... on DisplayableEvent { metadataEntries { label ... on TextMetadataEntry { text } } } } } } } }
"""
BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
BACKFILL_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }
"""
ADD_KEY = """
mutation($key: String!, $name: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionKey: $key, partitionsDefName: $name, repositorySelector: $repository) {
    __typename ... on PythonError { message } } }
"""
LAUNCH = """
mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
AGAIN = """
mutation($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""

REPOSITORY = {"repositoryLocationName": "marble_images.definitions", "repositoryName": "__repository__"}
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(look: Callable[[], Found | None], what: str, seconds: float = 300) -> Found:
    """Look until there is something; says what never came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(1)
    raise AssertionError(f"after {seconds} s there is still no {what}")


def marble_images(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "marble_images.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


class DevServer:
    """A running `marble-images dev`."""

    def __init__(self, folder: Path, port: int, stack: LocalStack) -> None:
        self.folder, self.port, self.stack = folder, port, stack

    @property
    def url(self) -> str:
        """The UI."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        answer = requests.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60
        ).json()
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])

    def statuses(self, asset: str) -> dict[str, set[str]]:
        """Partition keys by status."""
        found = self.ask(STATUSES, asset={"path": [asset]})["assetNodeOrError"]["assetPartitionStatuses"]
        return {name.removesuffix("Partitions"): set(keys) for name, keys in found.items() if name[0] != "_"}

    def days(self, asset: str) -> dict[str, str]:
        """Status by the first day of each range of days."""
        found = self.ask(STATUSES, asset={"path": [asset]})["assetNodeOrError"]["assetPartitionStatuses"]
        days: dict[str, str] = {}
        for part in found["ranges"]:
            days |= {part["startKey"]: part["status"], part["endKey"]: part["status"]}
        return days

    def keys(self, asset: str) -> list[str]:
        """All partition keys, as the asset's page lists them."""
        found = self.ask(KEYS, asset={"path": [asset]})["assetNodeOrError"]["partitionKeysByDimension"]
        return [key for dimension in found for key in dimension["partitionKeys"]]

    def history(self, asset: str, key: str) -> list[dict[str, str]]:
        """What the page of a partition shows as its events: their texts by label, the newest first."""
        found = self.ask(HISTORY, asset={"path": [asset]}, keys=[key])["assetOrError"]["assetEventHistory"]
        return [
            {entry["label"]: entry.get("text", "") for entry in event["metadataEntries"]}
            for event in found["results"]
        ]

    def runs(self, **filter_: Any) -> list[dict[str, Any]]:
        """Runs, the newest first."""
        return list(self.ask(RUNS, filter=filter_)["runsOrError"]["results"])

    def backfill(self, asset: str, keys: list[str]) -> str:
        """Launch chosen partitions as the asset's page does; the backfill's id."""
        params = {"assetSelection": [{"path": [asset]}], "partitionNames": keys, "fromFailure": False}
        answer = self.ask(BACKFILL, params=params)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def add_key(self, partitions: str, key: str) -> None:
        """Add a partition as "Add a partition" does."""
        answer = self.ask(ADD_KEY, key=key, name=partitions, repository=REPOSITORY)["addDynamicPartition"]
        assert answer["__typename"] == "AddDynamicPartitionSuccess", answer

    def launch(
        self,
        partition: str | tuple[str, str],
        assets: list[str],
        checks: list[tuple[str, str]] | None = None,
        config: dict[str, Any] | None = None,
    ) -> str:
        """Launch one partition, or a range as one run, as the asset's page does; the run's id."""
        if isinstance(partition, str):
            tags = {"dagster/partition": partition}
        else:
            tags = dict(zip(RANGE_TAGS, partition, strict=True))
        chosen = None if checks is None else [{"assetKey": {"path": [a]}, "name": n} for a, n in checks]
        params = {
            "selector": {
                **REPOSITORY,
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": [asset]} for asset in assets],
                "assetCheckSelection": chosen,
            },
            "mode": "default",
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def again_from_failure(self, run_id: str) -> str:
        """Press "re-execute from failure"; the new run's id."""
        params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        answer = self.ask(AGAIN, params=params)["launchRunReexecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def runs_of(self, backfill: str) -> list[str]:
        """Wait for all runs of a backfill to end; how each ended."""

        def statuses() -> list[str] | None:
            found = self.ask(BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]["status"]
            runs = self.runs(tags=[{"key": "dagster/backfill", "value": backfill}])
            ended = all(run["status"] in ENDED for run in runs)
            return [run["status"] for run in runs] if found.startswith("COMPLETED") and ended else None

        return until(statuses, f"end of backfill {backfill}")

    def ended(self, run_id: str) -> str:
        """Wait for a run; how it ended."""

        def status() -> str | None:
            found = self.runs(runIds=[run_id])[0]["status"]
            return str(found) if found in ENDED else None

        return until(status, f"end of run {run_id}")


@contextmanager
def dev_server(folder: Path, **environment: str) -> Iterator[DevServer]:
    """Run `marble-images dev` and stop it as `kill` does."""
    port = free_port()
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "marble_images.cli", "dev", "--folder", str(folder), "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:

            def answers() -> bool:
                assert process.poll() is None, (folder / "dev.log").read_text()
                try:
                    return requests.get(f"http://127.0.0.1:{port}/server_info", timeout=5).ok
                except requests.ConnectionError:
                    return False

            until(answers, "answer of the UI")
            with LocalStack(folder) as stack:
                assert stack.attached
                yield DevServer(folder, port, stack)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)

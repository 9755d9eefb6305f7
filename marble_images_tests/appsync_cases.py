"""A queue behind a server, and how that may answer, sorted by what a client must make of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from marble_images.appsync import AppSyncQueue
from marble_images_tests import queue_server as faulty
from marble_images_tests.queue_server import KEY, QueueServer

QUICK: dict[str, Any] = {"attempts": 3, "backoff": 0.001}
HASTY: dict[str, Any] = {"backoff": 0.001, "read_timeout": 0.3, "deadline": 0.6}

PASSING = {
    "reset": faulty.reset,
    "hang-up": faulty.hang_up,
    "cut, right length": faulty.cut_with_right_length,
    "cut, wrong length": faulty.cut_with_wrong_length,
    "html": faulty.html,
    "408": faulty.status(408),
    "429": faulty.status(429),
    "429 with html": faulty.status(429, b"<html>", Content_Type="text/html"),
    "500": faulty.status(500, b'{"errors": [{"errorType": "InternalFailure", "message": "no"}]}'),
    "503": faulty.status(503, b"<html>"),
    "null": faulty.says(None),
    "a list": faulty.says(["data"]),
    "data is a list": faulty.says({"data": []}),
    "no data": faulty.says({"data": None}),
    "neither data nor errors": faulty.says({"message": "Internal Server Error"}),
    "throttled": faulty.graphql_error("DynamoDB:ProvisionedThroughputExceededException"),
    "too many": faulty.graphql_error("TooManyRequestsException", data=True),
    "internal": faulty.graphql_error("InternalFailure"),
    "execution time-out": faulty.graphql_error("ExecutionTimeout"),
    "no type but throttled": faulty.graphql_error(None, message="Rate exceeded"),
}
LASTING = {
    "400": faulty.status(400, b'{"errors": [{"errorType": "BadRequestException", "message": "no"}]}'),
    "404": faulty.status(404),
    "redirect": faulty.status(307, Location="https://elsewhere.example/graphql"),
    "error": faulty.graphql_error("MappingTemplate"),
    "error with data": faulty.graphql_error("SerializationError", data=True),
}
HANGING = {
    "silence": faulty.silence,
    "dripping body": faulty.dripping_body,
    "dripping headers": faulty.dripping_headers,
}
SOME = {
    "500": faulty.status(500),
    "cut": faulty.cut_with_right_length,
    "error with data": faulty.graphql_error("SerializationError", data=True),
}
REFUSING = {
    "401": faulty.status(401, b'{"errors": [{"errorType": "UnauthorizedException", "message": "no"}]}'),
    "403": faulty.status(403, b"<html>"),
    "in an answer": faulty.graphql_error("UnauthorizedException"),
    "one field": faulty.graphql_error("Unauthorized", data=True),
}


def each(faults: Mapping[str, faulty.Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", list(faults.values()), ids=list(faults))


@pytest.fixture
def server() -> Iterator[QueueServer]:
    running = QueueServer()
    yield running
    running.stop()


@pytest.fixture
def queue(server: QueueServer) -> Iterator[AppSyncQueue]:
    with AppSyncQueue(server.url, KEY, **QUICK) as client:
        yield client

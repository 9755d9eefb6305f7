from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from marble_images.local.control import ControlError
from marble_images.local.faults import ACTIONS, FaultBook, LoggedRequest
from marble_images.local.layout import IMAGE_BUCKET
from marble_images.local.stack import LocalStack
from marble_images_tests.local.records import record

CONTENT = bytes(range(256)) * 400
MARK = 'mutation { saveFileLastProcessedDate(itemId: "a.tif", height: 1, width: 2) { id } }'


@pytest.fixture
def url(stack: LocalStack) -> str:
    return stack.web.put_uri("folder/a b.tif", CONTENT)


def get(url: str, **options: Any) -> requests.Response:
    return requests.get(url, timeout=(5, 5), **options)


def graphql(stack: LocalStack, query: str) -> requests.Response:
    headers = {"x-api-key": stack.appsync.api_key}
    return requests.post(stack.appsync.url, json={"query": query}, headers=headers, timeout=5)


def read_raw(url: str) -> bytes:
    with get(url, stream=True) as answer:
        got = bytearray()
        try:
            for block in answer.raw.stream(1000, decode_content=False):
                got += block
        except Exception as error:
            raise type(error)(f"after {len(got)} bytes: {error}") from error
        return bytes(got)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset_without_an_answer_is_seen_as_one(stack: LocalStack, url: str, when: str) -> None:
    stack.faults.add("reset", service="uri", when=when)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        get(url)


def test_a_reset_in_mid_body_comes_after_a_part_of_it(stack: LocalStack, url: str) -> None:
    stack.faults.add("reset", service="uri", when="mid", fraction=0.5)
    with pytest.raises(Exception, match=r"after [1-9]\d* bytes.*reset by peer"):
        read_raw(url)


@pytest.mark.parametrize("when", ["before", "after", "mid"])
def test_a_server_that_hangs_runs_into_the_time_out(stack: LocalStack, url: str, when: str) -> None:
    stack.faults.add("hang", service="uri", when=when)
    with pytest.raises((requests.Timeout, requests.ConnectionError), match="timed out"):
        requests.get(url, timeout=(5, 0.3)).raise_for_status()


def test_requests_that_hang_end_when_the_faults_are_cleared(stack: LocalStack, url: str) -> None:
    stack.faults.add("hang", service="uri", seconds=600)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            requests.get(url, timeout=60)
        except requests.ConnectionError as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not stack.faults.requests("uri"):
        time.sleep(0.02)
    stack.faults.clear()
    thread.join(30)
    assert len(ended) == 1


def test_a_slow_drip_arrives_whole(stack: LocalStack) -> None:
    url = stack.web.put_uri("small.tif", b"x" * 300)
    stack.faults.add("drip", service="uri", rate=1000)
    before = time.monotonic()
    assert read_raw(url) == b"x" * 300
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize(
    ("status", "fields", "header"),
    [
        (403, {}, None),
        (404, {}, None),
        (429, {}, None),
        (429, {"retry_after": "7"}, "7"),
        (503, {"retry_after": "Wed, 21 Oct 2037 07:28:00 GMT"}, "Wed, 21 Oct 2037 07:28:00 GMT"),
    ],
)
def test_a_status_is_answered_with_or_without_retry_after(
    stack: LocalStack, url: str, status: int, fields: dict[str, str], header: str | None
) -> None:
    stack.faults.add("status", service="uri", status=status, **fields)
    answer = get(url)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, header)
    assert requests.head(url, timeout=5).status_code == status


def test_a_fault_can_come_once_or_after_some_requests(stack: LocalStack, url: str) -> None:
    number = stack.faults.add("status", service="uri", status=500, skip=1, times=2)
    assert [get(url).status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    assert stack.faults.hits(number) == 2


def test_a_truncated_body_with_the_right_length_looks_whole(stack: LocalStack, url: str) -> None:
    stack.faults.add("truncate", service="uri", length="right", fraction=0.25)
    answer = get(url)
    assert answer.content == CONTENT[: len(CONTENT) // 4]
    assert answer.headers["Content-Length"] == str(len(CONTENT) // 4)


def test_a_truncated_body_with_the_wrong_length_ends_too_soon(stack: LocalStack, url: str) -> None:
    stack.faults.add("truncate", service="uri", length="wrong", fraction=0.25)
    with pytest.raises(Exception, match=r"after 25600 bytes.*IncompleteRead"):
        read_raw(url)


def test_corrupt_bytes_keep_the_length_and_the_first_bytes(stack: LocalStack, url: str) -> None:
    stack.faults.add("corrupt", service="uri")
    got = get(url).content
    assert len(got) == len(CONTENT)
    assert got != CONTENT
    assert got[:64] == CONTENT[:64]


def test_a_web_page_comes_with_200(stack: LocalStack, url: str) -> None:
    stack.faults.add("replace", service="uri")
    answer = get(url)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<html>" in answer.text


def test_a_redirect_loop_never_ends_and_a_redirect_can_lead_anywhere(stack: LocalStack, url: str) -> None:
    loop = stack.faults.add("redirect", service="uri")
    with pytest.raises(requests.TooManyRedirects):
        get(url)
    stack.faults.remove(loop)
    stack.faults.add("redirect", service="uri", location="http://169.254.169.254/latest")
    assert get(url, allow_redirects=False).headers["Location"] == "http://169.254.169.254/latest"


def test_what_a_latency_delays_goes_on_when_it_is_taken_back(stack: LocalStack, url: str) -> None:
    held = stack.faults.add("latency", service="uri", seconds=3600)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.get, url, timeout=60)
        while not stack.faults.hits(held):
            time.sleep(0.01)
        assert not answer.done()
        assert stack.faults.remove(held)
        assert answer.result().status_code == 200


def test_latency_delays_and_adds_to_another_fault(stack: LocalStack, url: str) -> None:
    stack.faults.add("latency", seconds=0.2)
    stack.faults.add("latency", service="uri", seconds=0.2)
    stack.faults.add("status", service="uri", status=500, times=1)
    before = time.monotonic()
    assert get(url).status_code == 500
    assert time.monotonic() - before >= 0.4
    assert get(url).content == CONTENT


def test_a_closed_port_refuses_and_opens_again_by_itself(stack: LocalStack, url: str) -> None:
    stack.faults.refuse("uri")
    with pytest.raises(requests.ConnectionError, match="refused"):
        get(url)
    stack.faults.accept("uri")
    assert get(url).status_code == 200
    stack.faults.refuse("uri", seconds=0.2)
    with pytest.raises(requests.ConnectionError, match="refused"):
        get(url)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(requests.ConnectionError):
            assert get(url).status_code == 200
            return
    pytest.fail("the port stayed closed")


def test_a_port_that_is_closed_is_open_after_a_reset(stack: LocalStack) -> None:
    stack.faults.refuse("aws")
    stack.reset()
    assert stack.s3.list_buckets()["Buckets"]


def test_the_answer_can_be_lost_after_appsync_did_the_work(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif"), record("b.tif")])
    stack.faults.add("reset", operation="saveFileLastProcessedDate", when="after")
    stack.faults.add("status", operation="removeItemToProcess", when="after", status=503)
    with pytest.raises(requests.ConnectionError):
        graphql(stack, MARK)
    assert graphql(stack, MARK.replace("save", "nosave")).status_code == 200
    lost = graphql(stack, 'mutation { removeItemToProcess(itemId: "b.tif") { recordsDeleted } }')
    assert lost.status_code == 503
    (stored,) = stack.appsync.records()
    assert (stored["id"], stored["width"]) == ("a.tif", 2)


@pytest.mark.parametrize("action", ["reset", "status", "hang"])
def test_a_fault_before_the_work_leaves_it_undone(stack: LocalStack, action: str) -> None:
    stack.appsync.put_records([record("a.tif")])
    stack.faults.add(action, service="appsync", seconds=0.1)
    try:
        assert graphql(stack, MARK).status_code == 500
    except requests.ConnectionError:
        assert action != "status"
    assert "dateLastProcessed" not in stack.appsync.records()[0]


def test_graphql_errors_come_with_200_alone_or_beside_the_data(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif")])
    query = '{ getFileToProcessRecord(filePath: "a.tif") { id } }'
    with stack.faults.on("graphql_errors", reason="DynamoDB:Throttled", content="slow down"):
        alone = graphql(stack, query)
    with stack.faults.on("graphql_errors", data="kept"):
        beside = graphql(stack, query)
    assert alone.status_code == beside.status_code == 200
    assert alone.json()["data"] is None
    (error,) = alone.json()["errors"]
    assert (error["path"], error["errorType"]) == (["getFileToProcessRecord"], "DynamoDB:Throttled")
    assert error["message"] == "slow down"
    assert beside.json()["data"] == {"getFileToProcessRecord": {"id": "a.tif"}}
    assert beside.json()["errors"]
    assert "errors" not in graphql(stack, query).json()


def test_appsync_fails_in_appsyncs_shape(stack: LocalStack) -> None:
    stack.faults.add("status", service="appsync", status=429)
    answer = graphql(stack, "{ __typename }")
    assert answer.status_code == 429
    assert answer.json()["errors"][0]["errorType"] == "ThrottlingException"


def test_a_fault_can_aim_at_one_file_of_appsync(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif"), record("b.tif")])
    stack.faults.add("status", service="appsync", body=r"b\.tif", status=500)
    query = '{{ getFileToProcessRecord(filePath: "{}.tif") {{ id }} }}'
    assert graphql(stack, query.format("a")).status_code == 200
    assert graphql(stack, query.format("b")).status_code == 500


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (403, None, "AccessDenied"),
        (404, None, "NoSuchKey"),
        (404, "NoSuchBucket", "NoSuchBucket"),
        (503, None, "SlowDown"),
        (500, None, "InternalError"),
    ],
)
def test_s3_fails_in_s3s_shape(stack: LocalStack, status: int, reason: str | None, code: str) -> None:
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="k", Body=b"x")
    once = stack.aws_client("s3", config=Config(retries={"total_max_attempts": 1}))
    with stack.faults.on("status", operation="GetObject", path="/images/k", status=status, reason=reason):
        with pytest.raises(ClientError) as error:
            once.get_object(Bucket=IMAGE_BUCKET, Key="k")
        assert once.head_object(Bucket=IMAGE_BUCKET, Key="k")["ContentLength"] == 1
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_boto3_gets_over_faults_that_come_once(stack: LocalStack) -> None:
    stack.faults.add("status", operation="PutObject", status=503, times=1)
    stack.faults.add("reset", operation="PutObject", times=1)
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="k", Body=b"x" * 1000)
    assert len(stack.faults.requests("aws", "PutObject")) == 3
    assert (stack.pyramid_folder / "k").read_bytes() == b"x" * 1000


def test_an_upload_that_is_corrupted_on_its_way_is_refused_by_its_checksum(stack: LocalStack) -> None:
    stack.faults.add("corrupt", operation="PutObject", when="before")
    with pytest.raises(ClientError, match="BadDigest"):
        stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="k", Body=b"x" * 1000, ChecksumAlgorithm="CRC32")
    assert list(stack.pyramid_folder.iterdir()) == []


def test_ssm_fails_in_its_own_shape(stack: LocalStack) -> None:
    client = stack.aws_client("ssm", config=Config(retries={"total_max_attempts": 1}))
    stack.faults.add("status", operation="GetParameter", status=400, reason="ThrottlingException")
    with pytest.raises(ClientError, match="ThrottlingException"):
        client.get_parameter(Name="/local/graphql/url")


def test_google_fails_in_googles_shapes(stack: LocalStack) -> None:
    stack.faults.add("status", operation="Download", status=403, reason="userRateLimitExceeded")
    stack.faults.add("status", operation="Token", status=500)
    answer = get(f"{stack.url('google')}/drive/v3/files/x?alt=media")
    (error,) = answer.json()["error"]["errors"]
    assert (error["reason"], error["domain"]) == ("userRateLimitExceeded", "usageLimits")
    assert requests.post(f"{stack.url('google')}/token", timeout=5).json() == {"error": "internal_failure"}


def test_every_request_is_logged_with_its_operations_and_status(stack: LocalStack, url: str) -> None:
    stack.appsync.put_records([record("a.tif")])
    graphql(stack, '{ x: getFileToProcessRecord(filePath: "a") { id } y: listFilesToProcess { nextToken } }')
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="a b/ü.tif", Body=b"x")
    get(f"{url}?q=1", headers={"X-Test": "yes"})
    stack.faults.add("reset", service="uri")
    with pytest.raises(requests.ConnectionError):
        get(url)
    logged = stack.faults.requests()
    assert [(one.service, one.method, one.operations, one.status, one.fault) for one in logged] == [
        ("appsync", "POST", ["getFileToProcessRecord", "listFilesToProcess"], 200, None),
        ("aws", "PUT", ["PutObject"], 200, None),
        ("uri", "GET", ["File"], 200, None),
        ("uri", "GET", ["File"], None, "reset"),
    ]
    assert logged[1].path == "/images/a b/ü.tif"
    assert logged[2].path == "/folder/a b.tif?q=1"
    assert logged[2].headers["x-test"] == "yes"
    assert stack.faults.count("appsync") == {"getFileToProcessRecord": 1, "listFilesToProcess": 1}
    stack.faults.forget_requests()
    assert stack.faults.requests() == []


@pytest.mark.parametrize(
    "fields", [{"action": "explode"}, {"action": "reset", "when": "never"}, {"action": "reset", "nope": 1}]
)
def test_a_command_that_is_none_is_refused(stack: LocalStack, fields: dict[str, Any]) -> None:
    with pytest.raises(ControlError):
        stack.faults.add(**fields)


def test_all_actions_are_carried_out(stack: LocalStack, url: str) -> None:
    for action in ACTIONS:
        with stack.faults.on(action, service="uri", seconds=0.01, rate=1e9) as number:
            try:
                get(url, allow_redirects=False)
            except requests.ConnectionError:
                assert action in ("reset", "hang")
            assert stack.faults.hits(number) == 1, action


@given(st.permutations(range(12)), st.integers(0, 3))
def test_random_faults_hit_the_same_requests_in_whatever_order_they_come(order: list[int], seed: int) -> None:
    def hit(order: list[int]) -> set[int]:
        book = FaultBook()
        book.add({"action": "reset", "probability": 0.5, "seed": seed})
        requests_ = [LoggedRequest("uri", "GET", f"/{number}", ["File"]) for number in range(12)]
        return {number for number in order if book.meet(requests_[number])[1]}

    expected = hit(list(range(12)))
    assert hit(order) == expected
    assert 0 < len(expected) < 12

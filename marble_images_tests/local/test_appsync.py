from __future__ import annotations

from typing import Any

import pytest
import requests
from gql import Client, gql
from gql.transport.requests import RequestsHTTPTransport

from marble_images.local.stack import LocalStack
from marble_images_tests.local.records import record

ITEMS = "items { id filePath dateLastProcessed } nextToken"


def ask(stack: LocalStack, query: str, **variables: Any) -> dict[str, Any]:
    answer = requests.post(
        stack.appsync.url,
        json={"query": query, "variables": variables},
        headers={"x-api-key": stack.appsync.api_key},
        timeout=10,
    )
    assert answer.status_code == 200
    return dict(answer.json())


def data(stack: LocalStack, query: str, **variables: Any) -> Any:
    answer = ask(stack, query, **variables)
    assert "errors" not in answer
    return answer["data"]


def list_all(stack: LocalStack, arguments: str = "") -> list[list[Any]]:
    pages, token = [], None
    while True:
        page = data(
            stack,
            f"query($t: String) {{ listFilesToProcess({arguments} nextToken: $t) {{ {ITEMS} }} }}",
            t=token,
        )["listFilesToProcess"]
        pages.append(page["items"])
        token = page["nextToken"]
        if token is None:
            return pages


def ids(pages: list[list[Any]]) -> list[str]:
    return [item["id"] for page in pages for item in page if item is not None]


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"x-api-key": ""}])
def test_a_missing_or_wrong_key_is_401_in_appsyncs_shape(stack: LocalStack, headers: dict[str, str]) -> None:
    answer = requests.post(stack.appsync.url, json={"query": "{ __typename }"}, headers=headers, timeout=10)
    assert answer.status_code == 401
    (error,) = answer.json()["errors"]
    assert error["errorType"] == "UnauthorizedException"
    assert error["message"]


def test_a_body_that_is_no_graphql_request_is_400(stack: LocalStack) -> None:
    answer = requests.post(
        stack.appsync.url, data=b"[1", headers={"x-api-key": stack.appsync.api_key}, timeout=10
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["errorType"] == "MalformedHttpRequestException"


def test_an_unknown_field_is_a_graphql_error_with_http_200(stack: LocalStack) -> None:
    answer = ask(stack, "{ listFilesToProcess { nope } }")
    assert answer["data"] is None
    (error,) = answer["errors"]
    assert error["errorType"] == "ValidationError"
    assert "nope" in error["message"]


def test_without_a_date_only_waiting_files_are_listed(stack: LocalStack) -> None:
    stack.appsync.put_records(
        [record("a.tif"), record("b.tif", dateLastProcessed="2022-01-01T00:00:00.000Z"), record("c.tif")]
    )
    assert ids(list_all(stack)) == ["a.tif", "c.tif"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("9999", ["a.tif", "b.tif", "c.tif"]),
        ("2022-06-01", ["a.tif", "b.tif"]),
        ("2022-01-01T00:00:00.000Z", ["a.tif", "b.tif"]),
        ("2022-01-01t00:00:00.000z", ["a.tif", "b.tif"]),
        (" 2022-01-01T00: 00:00.000Z ", ["a.tif", "b.tif"]),
        ("2022-01-01", ["a.tif"]),
        ("", ["a.tif"]),
    ],
)
def test_dates_are_compared_as_upper_cased_strings_without_blanks(
    stack: LocalStack, before: str, expected: list[str]
) -> None:
    stack.appsync.put_records(
        [
            record("a.tif"),
            record("b.tif", dateLastProcessed="2022-01-01T00:00:00.000Z"),
            record("c.tif", dateLastProcessed="2023-01-01T00:00:00.000Z"),
        ]
    )
    assert ids(list_all(stack, f'dateLastProcessedBefore: "{before}"')) == expected


def test_pages_are_followed_to_the_end_and_the_last_one_may_be_empty(stack: LocalStack) -> None:
    stack.appsync.put_records(record(f"{number:03}.tif") for number in range(30))
    pages = list_all(stack, "limit: 10,")
    assert [len(page) for page in pages] == [10, 10, 10, 0]
    assert ids(pages) == [f"{number:03}.tif" for number in range(30)]


def test_a_page_ends_at_a_megabyte(stack: LocalStack) -> None:
    stack.appsync.put_records(record(f"{number:03}.tif", description="x" * 9_000) for number in range(200))
    pages = list_all(stack)
    assert [len(page) > 0 for page in pages] == [True, True]
    assert len(ids(pages)) == 200


def test_the_default_limit_is_a_thousand(stack: LocalStack) -> None:
    small = [{"filePath": f"{number:04}", "id": f"{number:04}"} for number in range(1200)]
    stack.appsync.put_records(small)
    assert [len(page) for page in list_all(stack)] == [1000, 200]


def test_short_and_empty_pages_and_nulls_on_command(stack: LocalStack) -> None:
    stack.appsync.put_records(record(f"{number:03}.tif") for number in range(20))
    stack.appsync.set_paging(most=4, empty_every=2, null_every=3)
    pages = list_all(stack)
    assert [] in pages[:-1]
    assert None in pages[0]
    assert ids(pages) == [f"{number:03}.tif" for number in range(20)]


def test_the_listing_is_stable_while_its_items_are_marked_and_removed(stack: LocalStack) -> None:
    stack.appsync.put_records(record(f"{number:03}.tif") for number in range(40))
    listing = f"query($t: String) {{ listFilesToProcess(limit: 7, nextToken: $t) {{ {ITEMS} }} }}"
    mark = "mutation($i: String!) { saveFileLastProcessedDate(itemId: $i, height: 1, width: 1) { id } }"
    remove = "mutation($i: String!) { removeItemToProcess(itemId: $i) { recordsDeleted } }"
    seen: list[str] = []
    token = None
    while True:
        page = data(stack, listing, t=token)["listFilesToProcess"]
        seen += [item["id"] for item in page["items"]]
        for position, item in enumerate(page["items"]):
            data(stack, remove if position % 2 else mark, i=item["id"])
        token = page["nextToken"]
        if token is None:
            break
    assert seen == [f"{number:03}.tif" for number in range(40)]


@pytest.mark.parametrize("token", ["nonsense", "bm9uc2Vuc2U=", "WyJ2OSIsICJ4IiwgMV0="])
def test_a_token_that_was_never_given_is_a_graphql_error(stack: LocalStack, token: str) -> None:
    answer = ask(stack, "query($t: String) { listFilesToProcess(nextToken: $t) { nextToken } }", t=token)
    assert answer["data"] == {"listFilesToProcess": None}
    assert answer["errors"][0]["path"] == ["listFilesToProcess"]
    assert "token" in answer["errors"][0]["message"]


@pytest.mark.parametrize("asked", ["Some Folder/One.tif", "some folder/one.TIF", "SomeFolder/On e.tif"])
def test_ids_that_differ_in_case_and_blanks_are_one_record(stack: LocalStack, asked: str) -> None:
    stack.appsync.put_records([record("Some Folder/One.tif")])
    found = data(stack, "query($f: String!) { getFileToProcessRecord(filePath: $f) { id } }", f=asked)
    assert found["getFileToProcessRecord"] == {"id": "Some Folder/One.tif"}


def test_an_unknown_record_is_null(stack: LocalStack) -> None:
    assert data(stack, '{ getFileToProcessRecord(filePath: "x") { id } }') == {"getFileToProcessRecord": None}


def test_many_records_can_be_asked_for_by_alias_in_one_request(stack: LocalStack) -> None:
    stack.appsync.put_records(record(f"{number}.tif") for number in range(50))
    parts = " ".join(f'r{n}: getFileToProcessRecord(filePath: "{n}.tif") {{ id }}' for n in range(60))
    found = data(stack, f"{{ {parts} }}")
    assert found["r49"] == {"id": "49.tif"}
    assert found["r50"] is None
    assert len(found) == 60


def test_marking_stores_both_dates_and_sizes_and_keeps_the_day_of_the_change(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif", size="123")])
    marked = data(
        stack,
        """mutation { saveFileLastProcessedDate(itemId: "A.TIF", height: 30, width: 40) {
             id height width dateLastProcessed dateModifiedInDynamo dateAddedToDynamo } }""",
    )["saveFileLastProcessedDate"]
    assert (marked["id"], marked["height"], marked["width"]) == ("a.tif", 30, 40)
    assert marked["dateLastProcessed"] == marked["dateModifiedInDynamo"]
    assert marked["dateLastProcessed"].endswith("Z")
    assert marked["dateAddedToDynamo"] == "2021-07-13T06:00:58.682922"
    assert [(image["height"], image["width"]) for image in stack.appsync.images()] == [(30, 40)]
    assert list_all(stack) == [[]]


def test_sizes_that_are_left_out_are_overwritten_with_null(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif", height=3, width=4)])
    data(stack, 'mutation { saveFileLastProcessedDate(itemId: "a.tif") { id } }')
    (stored,) = stack.appsync.records()
    assert (stored["height"], stored["width"]) == (None, None)


def test_marking_an_unknown_id_creates_a_nearly_empty_record_and_answers_no_id(stack: LocalStack) -> None:
    marked = data(
        stack, 'mutation { saveFileLastProcessedDate(itemId: "No Such", height: 1, width: 2) { id height } }'
    )
    assert marked["saveFileLastProcessedDate"] == {"id": None, "height": 1}
    (stored,) = stack.appsync.records()
    assert stored["SK"] == "FILEPATH#NOSUCH"
    assert "filePath" not in stored


def test_removing_answers_an_object_with_null_and_null_when_there_was_none(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a b.tif")])
    remove = 'mutation { removeItemToProcess(itemId: "AB.tif") { recordsDeleted } }'
    assert data(stack, remove) == {"removeItemToProcess": {"recordsDeleted": None}}
    assert data(stack, remove) == {"removeItemToProcess": None}
    assert stack.appsync.records() == []


def test_a_number_stored_as_text_is_null_beside_an_error_that_names_it(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif", size="3670016", height=7), record("b.tif", size=9)])
    answer = ask(stack, "{ listFilesToProcess { items { id size height } } }")
    assert answer["data"]["listFilesToProcess"]["items"] == [
        {"id": "a.tif", "size": None, "height": 7},
        {"id": "b.tif", "size": 9, "height": None},
    ]
    (error,) = answer["errors"]
    assert error["path"] == ["listFilesToProcess", "items", 0, "size"]
    assert error["errorType"]
    assert "3670016" in error["message"]


def test_a_graphql_client_that_reads_the_schema_first_works(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif")])
    transport = RequestsHTTPTransport(
        url=stack.appsync.url, headers={"x-api-key": stack.appsync.api_key}, timeout=10
    )
    with Client(transport=transport, fetch_schema_from_transport=True) as session:
        found = session.execute(gql('{ getFileToProcessRecord(filePath: "a.tif") { id sourceType } }'))
    assert found["getFileToProcessRecord"] == {"id": "a.tif", "sourceType": "S3"}


def test_a_touched_record_waits_again_with_a_new_date_and_its_changes(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif", dateLastProcessed="2022-01-01T00:00:00.000Z", eTag="1")])
    stack.appsync.touch("A.tif", {"eTag": "2"})
    (stored,) = stack.appsync.records()
    assert "dateLastProcessed" not in stored
    assert stored["eTag"] == "2"
    assert stored["dateAddedToDynamo"] == stored["dateModifiedInDynamo"] > "2021-07-14"
    assert "Z" not in stored["dateAddedToDynamo"]
    assert ids(list_all(stack)) == ["a.tif"]


def test_seeding_leaves_what_the_queue_has_or_had(stack: LocalStack) -> None:
    stack.appsync.put_records([record("had.tif", eTag="old")])
    assert stack.appsync.seed_records([record("had.tif", eTag="new"), record("gone.tif")]) == 1
    assert stack.appsync.remove("gone.tif")
    assert stack.appsync.seed_records([record("had.tif"), record("gone.tif"), record("new.tif")]) == 1
    assert {stored["filePath"]: stored.get("eTag") for stored in stack.appsync.records()} == {
        "had.tif": "old",
        "new.tif": None,
    }

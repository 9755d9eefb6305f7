from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest
import requests
from google.auth import jwt
from google.auth.crypt import RSASigner
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from marble_images.local import google
from marble_images.local.layout import GOOGLE_PATH
from marble_images.local.secrets import StackSecrets
from marble_images.local.stack import LocalStack


def drive_credentials(stack: LocalStack, **changes: Any) -> service_account.Credentials:
    stored = stack.aws_client("ssm").get_parameter(Name=GOOGLE_PATH, WithDecryption=True)
    info = json.loads(stored["Parameter"]["Value"]) | changes
    scopes = changes.get("scopes", [google.SCOPE])
    return service_account.Credentials.from_service_account_info(info, scopes=scopes)


def drive_session(stack: LocalStack) -> requests.Session:
    # Not google-auth's own session: it also asks iamcredentials.googleapis.com where requests may go.
    credentials = drive_credentials(stack)
    credentials.refresh(Request())
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {credentials.token}"
    return session


def drive_url(stack: LocalStack, file_id: str, query: str = "?alt=media&supportsAllDrives=true") -> str:
    return f"{stack.url('google')}/drive/v3/files/{file_id}{query}"


def test_a_file_is_served_with_an_etag_and_by_ranges(stack: LocalStack) -> None:
    url = stack.web.put_uri("digital/some folder/pagé 1.jpg", bytes(range(256)))
    whole = requests.get(url, timeout=10)
    assert whole.content == bytes(range(256))
    assert whole.headers["Content-Type"] == "image/jpeg"
    part = requests.get(url, headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]}, timeout=10)
    assert (part.status_code, part.content) == (206, bytes(range(100, 256)))
    assert part.headers["Content-Range"] == "bytes 100-255/256"
    stale = requests.get(url, headers={"Range": "bytes=100-", "If-Range": '"other"'}, timeout=10)
    assert (stale.status_code, stale.content) == (200, bytes(range(256)))
    beyond = requests.get(url, headers={"Range": "bytes=256-"}, timeout=10)
    assert beyond.status_code == 416


def test_head_tells_the_length_and_sends_nothing(stack: LocalStack) -> None:
    url = stack.web.put_uri("a.tif", b"x" * 1000)
    head = requests.head(url, timeout=10)
    assert (head.headers["Content-Length"], head.content) == ("1000", b"")
    assert head.headers["Date"].count("GMT") == 1


@pytest.mark.parametrize("path", ["nope.jpg", "../secrets.json", "%2e%2e/%2e%2e/secrets.json", ""])
def test_what_is_not_there_or_outside_the_folder_is_404(stack: LocalStack, path: str) -> None:
    request = requests.Request("GET", stack.web.uri_url).prepare()
    request.url = f"{stack.web.uri_url}/{path}"
    with requests.Session() as session:
        assert session.send(request, timeout=10).status_code == 404


def test_curate_redirects_to_storage_on_another_host(stack: LocalStack) -> None:
    url = stack.web.put_curate("rb68x923t0f", b"tiff", "PO 005.tif")
    first = requests.get(url, allow_redirects=False, timeout=10)
    assert first.status_code == 302
    assert first.headers["Location"].startswith(f"{stack.web.uri_url}/")
    assert requests.get(url, timeout=10).content == b"tiff"
    assert requests.get(stack.web.curate_address("unknown"), timeout=10).status_code == 404


def test_curate_asks_for_its_token_when_told_to(stack: LocalStack) -> None:
    url = stack.web.put_curate("item", b"tiff")
    stack.require_curate_token()
    assert requests.get(url, timeout=10).status_code == 401
    answer = requests.get(url, headers={"X-Api-Token": stack.secrets.curate_token}, timeout=10)
    assert answer.content == b"tiff"


def test_google_auths_own_flow_downloads_from_drive(stack: LocalStack) -> None:
    stack.web.put_drive("1abc_DEF-2", b"jpeg bytes")
    with drive_session(stack) as session:
        answer = session.get(drive_url(stack, "1abc_DEF-2"))
        part = session.get(drive_url(stack, "1abc_DEF-2"), headers={"Range": "bytes=5-"})
        known = session.get(drive_url(stack, "1abc_DEF-2", "?supportsAllDrives=true&fields=md5Checksum,size"))
    assert answer.content == b"jpeg bytes"
    assert (part.status_code, part.content) == (206, b"bytes")
    assert known.json() == {"md5Checksum": hashlib.md5(b"jpeg bytes").hexdigest(), "size": "10"}


def test_drive_says_not_found_as_drive_does(stack: LocalStack) -> None:
    stack.web.put_drive("there", b"x")
    with drive_session(stack) as session:
        for url in (drive_url(stack, "unknown"), drive_url(stack, "there", "?alt=media")):
            answer = session.get(url)
            assert answer.status_code == 404
            error = answer.json()["error"]
            assert (error["code"], error["errors"][0]["reason"]) == (404, "notFound")


@pytest.mark.parametrize("authorization", [None, "Bearer made-up", "Basic eDp5"])
def test_drive_refuses_those_without_a_token_of_its_own(stack: LocalStack, authorization: str | None) -> None:
    stack.web.put_drive("there", b"x")
    headers = {"Authorization": authorization} if authorization else {}
    answer = requests.get(drive_url(stack, "there"), headers=headers, timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error"]["errors"][0]["reason"] == "authError"


def test_an_expired_token_is_refused_and_another_one_works(stack: LocalStack) -> None:
    stack.web.put_drive("there", b"x")
    with drive_session(stack) as session:
        assert session.get(drive_url(stack, "there")).status_code == 200
        assert stack.expire_google_tokens() == 1
        assert session.get(drive_url(stack, "there")).status_code == 401
    with drive_session(stack) as session:
        assert session.get(drive_url(stack, "there")).content == b"x"
    assert stack.faults.count("google") == {"Token": 2, "Download": 3}


@pytest.mark.parametrize("wrong", ["private_key", "client_email", "scopes"])
def test_an_assertion_with_another_key_account_or_scope_is_refused(stack: LocalStack, wrong: str) -> None:
    changes = {
        "private_key": lambda: StackSecrets._make().private_key,
        "client_email": lambda: "someone@else",
        "scopes": lambda: ["openid"],
    }
    credentials = drive_credentials(stack, **{wrong: changes[wrong]()})
    with pytest.raises(RefreshError, match="invalid_grant"):
        credentials.refresh(Request())


@pytest.mark.parametrize(
    "claims",
    [{"aud": "https://example.org/token"}, {"exp": 1}, {"iat": 4102444800}, {"aud": None}],
    ids=["audience", "expired", "future", "no audience"],
)
def test_an_assertion_for_another_audience_or_time_is_refused(
    stack: LocalStack, claims: dict[str, Any]
) -> None:
    now = int(time.time())
    good = {"iss": google.CLIENT_EMAIL, "scope": google.SCOPE, "iat": now, "exp": now + 600}
    good["aud"] = f"{stack.url('google')}/token"
    signer = RSASigner.from_string(stack.secrets.private_key)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
    url = f"{stack.url('google')}/token"
    accepted = requests.post(url, data=form | {"assertion": jwt.encode(signer, good)}, timeout=10)
    refused = requests.post(url, data=form | {"assertion": jwt.encode(signer, good | claims)}, timeout=10)
    assert accepted.json()["token_type"] == "Bearer"
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from marble_images.local import layout
from marble_images.local.stack import LocalStack, LocalStackFailed
from marble_images_tests.local.records import record

# The process that it forks keeps its end of the pipe to the stand-ins open.
_PARENT = """
import os, sys, time
from pathlib import Path
from marble_images.local.stack import LocalStack
with LocalStack(Path(sys.argv[1])) as stack:
    if os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    print(stack.control.call("ping"), flush=True)
    time.sleep(600)
"""


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def start_parent(folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    return parent, psutil.Process(int(parent.stdout.readline()))


def test_a_restart_finds_all_again_and_addresses_move_when_a_port_was_taken(tmp_path: Path) -> None:
    place = {"Bucket": layout.IMAGE_BUCKET, "Key": "some folder/a.tif"}
    with LocalStack(tmp_path) as stack:
        url = stack.web.put_uri("a.jpg", b"jpeg")
        stack.appsync.put_records([record("a.tif", sourceUri=url)])
        stack.s3.put_object(
            **place,
            Body=b"pyramid",
            ContentType="image/tiff",
            Metadata={"width": "40"},
            ChecksumAlgorithm="CRC32",
        )
        stack.s3.create_bucket(Bucket="another-bucket")
        environment, api_key = stack.environment, stack.appsync.api_key
        before = stack.s3.head_object(**place, ChecksumMode="ENABLED")
    with LocalStack(tmp_path) as stack:
        assert stack.environment == environment
        assert stack.appsync.api_key == api_key
        assert [found["id"] for found in stack.appsync.records()] == ["a.tif"]
        assert requests.get(url, timeout=10).content == b"jpeg"
        after = stack.s3.head_object(**place, ChecksumMode="ENABLED")
        names = ("ETag", "LastModified", "Metadata", "ContentType", "ContentLength", "ChecksumCRC32")
        assert {name: after[name] for name in names} == {name: before[name] for name in names}
        assert stack.s3.get_object(**place)["Body"].read() == b"pyramid"
        assert "another-bucket" in [bucket["Name"] for bucket in stack.s3.list_buckets()["Buckets"]]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", stack.ports["uri"]))
        taken.listen()
        with LocalStack(tmp_path) as moved:
            (stored,) = moved.appsync.records()
            assert stored["sourceUri"] != url
            assert requests.get(stored["sourceUri"], timeout=10).content == b"jpeg"


def test_when_the_parent_is_killed_nothing_is_left_running(tmp_path: Path) -> None:
    parent, child = start_parent(tmp_path)
    parent.kill()
    parent.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child lives on")
    with (tmp_path / "stack.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_ctrl_c_in_the_terminal_reaches_the_parent_only(tmp_path: Path) -> None:
    parent, child = start_parent(tmp_path)
    assert os.getpgid(child.pid) != os.getpgid(parent.pid)
    assert os.getsid(child.pid) != os.getsid(parent.pid)
    os.killpg(parent.pid, signal.SIGINT)
    parent.wait(30)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child lives on")


def test_a_second_user_of_the_folder_shares_the_stand_ins_and_leaves_them_running(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif")])
    with LocalStack(stack.folder) as second:
        assert second.attached
        assert second.environment == stack.environment
        assert [found["id"] for found in second.appsync.records()] == ["a.tif"]
    assert len(stack.appsync.records()) == 1


def test_servers_listen_on_127_0_0_1_only(stack: LocalStack) -> None:
    child = psutil.Process(stack.control.call("ping"))
    listening = [one.laddr for one in child.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == set(stack.ports.values())


def test_secrets_are_in_one_file_that_only_its_owner_can_read(stack: LocalStack) -> None:
    path = stack.folder / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = json.loads(path.read_text())
    assert len(set(secrets.values())) == 4
    others = [other for other in stack.folder.rglob("*") if other.is_file() and other != path]
    assert others
    for other in others:
        content = other.read_bytes()
        assert not [name for name, value in secrets.items() if value.encode() in content], other
    assert not [value for value in stack.environment.values() if value in secrets.values()]


def test_the_admin_endpoint_asks_for_its_key(stack: LocalStack) -> None:
    for headers in ({}, {"X-Admin-Key": "wrong"}):
        answer = requests.post(f"{stack.url('control')}/queue.records", json={}, headers=headers, timeout=10)
        assert answer.status_code == 403


def test_the_environment_of_a_person_leads_no_call_away(stack: LocalStack) -> None:
    environ = {
        "AWS_PROFILE": "mine",
        "AWS_ENDPOINT_URL_S3": "https://s3.example.org",
        "GRAPHQL_API_KEY": "mine",
    }
    environ |= {"HOME": "/home/me", "HTTPS_PROXY": "http://proxy.example.org"}
    stack.apply(environ)
    assert environ["HOME"] == "/home/me"
    assert environ["NO_PROXY"] == "127.0.0.1"
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "GRAPHQL_API_KEY"} & set(environ)


def test_the_parameters_say_where_appsync_is_and_what_its_key_is(stack: LocalStack) -> None:
    ssm, environment = stack.aws_client("ssm"), stack.environment
    read = {
        name: ssm.get_parameter(Name=environment[name], WithDecryption=True)["Parameter"]
        for name in ("GRAPHQL_API_URL_KEY_PATH", "GRAPHQL_API_KEY_KEY_PATH", "CURATE_API_TOKEN_KEY_PATH")
    }
    assert {one["Type"] for one in read.values()} == {"SecureString"}
    answer = requests.post(
        read["GRAPHQL_API_URL_KEY_PATH"]["Value"],
        json={"query": "{ __typename }"},
        headers={"x-api-key": read["GRAPHQL_API_KEY_KEY_PATH"]["Value"]},
        timeout=10,
    )
    assert answer.json()["data"] == {"__typename": "Query"}
    assert read["CURATE_API_TOKEN_KEY_PATH"]["Value"] == stack.secrets.curate_token


def test_a_stack_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").mkdir()
    with pytest.raises(LocalStackFailed, match="unable to open database file"), LocalStack(tmp_path):
        pass


def test_a_reset_empties_everything(stack: LocalStack) -> None:
    stack.appsync.put_records([record("a.tif")])
    stack.appsync.set_paging(most=1)
    stack.s3.put_object(Bucket=layout.IMAGE_BUCKET, Key="k", Body=b"x")
    url = stack.web.put_uri("a.jpg", b"jpeg")
    stack.require_curate_token()
    stack.faults.add("status", status=500)
    stack.reset()
    assert stack.appsync.records() == []
    assert stack.s3.list_objects_v2(Bucket=layout.IMAGE_BUCKET)["KeyCount"] == 0
    assert requests.get(url, timeout=10).status_code == 404
    assert requests.get(stack.web.put_curate("i", b"x"), timeout=10).status_code == 200
    assert len(stack.faults.requests()) == 4

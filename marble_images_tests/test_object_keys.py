"""Keys of the image bucket, from ids that nobody checked."""

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_images.errors import UnusableRecord
from marble_images.object_keys import key_collisions, object_key

IDS = st.text(max_size=40) | st.text("ab./\\ \n", max_size=12)


@pytest.mark.parametrize(
    ("file_path", "key"),
    [
        ("a/b/c.jpg", "a/b/c.tif"),
        ("a/b/c.TIF", "a/b/c.tif"),
        ("a.b/c", "a.b/c.tif"),
        ("a.b/c.d.jpg", "a.b/c.d.tif"),
        ("name", "name.tif"),
        ("name.", "name.tif"),
        (".hidden.jpg", ".hidden.tif"),
        ("...jpg.png", "...jpg.tif"),
        ("a/b, c [d]... e.jpg", "a/b, c [d]... e.tif"),
        ("Smith, J. 1912.jpg", "Smith, J. 1912.tif"),
        ("é/漢字.png", "é/漢字.tif"),
        ("dir.x\\name", "dir.x\\name.tif"),
        ("a/.../b.jpg", "a/.../b.tif"),
        ("a+b %41&c.jpg", "a+b %41&c.tif"),
    ],
)
def test_the_extension_and_nothing_else_is_replaced(file_path: str, key: str) -> None:
    assert object_key(file_path) == key
    assert object_key(file_path, ".pdf") == key.removesuffix(".tif") + ".pdf"


@pytest.mark.parametrize(
    ("file_path", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("/etc/passwd.jpg", "absolute"),
        ("\\\\server\\a.jpg", "absolute"),
        ("C:\\a.jpg", "absolute"),
        ("../a.jpg", r"\.\."),
        ("a/../../b.jpg", r"\.\."),
        ("a/./b.jpg", r"\. or"),
        ("a\\..\\b.jpg", r"\.\."),
        ("a/ .. /b.jpg", r"\.\."),
        ("a/..", r"\.\."),
        ("a//b.jpg", "empty folder"),
        ("a/ /b.jpg", "empty folder"),
        ("digital/civil_war/", "folder"),
        ("a/b\nc.jpg", "line breaks"),
        ("a\x00.jpg", "control"),
        ("a\x7f.jpg", "control"),
        ("a\u2028b.jpg", "line breaks"),
        ("a\ud800.jpg", "control"),
        ("a/.tif", "no name"),
        ("...", "no name"),
        ("a/. .jpg", "no name"),
        ("a" * 1021 + ".jpg", "1024"),
        ("é" * 511 + ".jpg", "1024"),
    ],
)
def test_ids_that_can_name_no_object_are_refused_with_the_reason(file_path: str, reason: str) -> None:
    with pytest.raises(UnusableRecord, match=reason) as raised:
        object_key(file_path)
    assert "\n" not in str(raised.value)
    assert raised.value.quarantine


def test_the_longest_key_is_taken() -> None:
    assert len(object_key("a" * 1020 + ".jpg")) == 1024


@given(IDS)
def test_a_key_stays_in_its_place_and_can_be_sent(file_path: str) -> None:
    try:
        key = object_key(file_path)
    except UnusableRecord:
        return
    assert posixpath.normpath(f"/prefix/{key}") == f"/prefix/{key}"
    assert 0 < len(key.encode()) <= 1024
    assert not any(unicodedata.category(character) == "Cc" for character in key)
    assert posixpath.dirname(key) == posixpath.dirname(file_path)
    assert key.endswith(".tif")
    assert object_key(key) == key


@given(st.lists(IDS, max_size=8))
def test_ids_share_a_key_only_if_they_are_told_to_collide(file_paths: list[str]) -> None:
    collisions = key_collisions(file_paths)
    for one in set(file_paths):
        for other in set(file_paths) - {one}:
            try:
                same = object_key(one) == object_key(other)
            except UnusableRecord:
                continue
            together = any({one, other} <= set(ids) for ids in collisions.values())
            assert same == together


def test_collisions_name_the_ids() -> None:
    found = key_collisions(["a.tif", "x.pdf", "a.jpg", "b.jpg", "a.jpg", "../a.jpg", "A.jpg"])
    assert found == {"a.tif": ["a.jpg", "a.tif"]}

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_images.models import ChangedFile
from marble_images.pipeline.reports import described_source


def described(uri: str) -> str | None:
    return described_source(ChangedFile("a.jpg", source_uri=uri))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://example.org/a/b.jpg", "https://example.org/a/b.jpg"),
        ("https://example.org:8443/a@2x.jpg?token=secret#part", "https://example.org:8443/a@2x.jpg"),
        ("https://[2001:db8::1]:80/a.jpg", "https://[2001:db8::1]:80/a.jpg"),
        ("https://user:secret@example.org/a.jpg", "https://example.org/a.jpg"),
        ("https://user:se/cret@example.org/a.jpg", "https://example.org/a.jpg"),
        ("user:secret@example.org/a.jpg", "example.org/a.jpg"),
        ("//user:secret@example.org/a.jpg", "example.org/a.jpg"),
        ("user:se?c#ret@example.org/a.jpg?x=y", "example.org/a.jpg"),
        ("user:secret://@example.org/a.jpg", "example.org/a.jpg"),
        ("no address", "no address"),
    ],
)
def test_an_address_is_shown_without_query_and_user(uri: str, shown: str) -> None:
    assert described(uri) == shown


@given(
    st.sampled_from(["", "//", "http://", "https://", "HTTPS://", "ftp://", "user:"]),
    st.text(alphabet="ab:/?#@ ", max_size=5),
    st.text(alphabet="ab:/?#@ ", max_size=5),
)
def test_no_password_is_ever_shown(scheme: str, before: str, after: str) -> None:
    # A host of letters only would make "user" the host, and what follows its slash a path.
    assert "SECRET" not in str(described(f"{scheme}u ser:{before}SECRET{after}@example.org/a.jpg"))


def test_an_object_is_shown_by_its_bucket_and_key() -> None:
    file = ChangedFile("a.jpg", source_bucket_name="bucket", source_file_path="a@b?c.jpg")
    assert described_source(file) == "s3://bucket/a@b?c.jpg"
    assert described_source(ChangedFile("a.jpg")) is None

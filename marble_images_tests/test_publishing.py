"""The image bucket's client against moto and against a server that keeps other things than it was sent."""

import base64
import os
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from marble_images.errors import PublishError
from marble_images.object_metadata import decode_metadata, encode_metadata, upload_metadata
from marble_images.publishing import ImageBucket, Published, is_current, is_of, pyramid_metadata, s3_uri
from marble_images.pyramid.model import Box, Pyramid
from marble_images_tests.s3_server import S3Server, Stored, s3_client

TIFF = "image/tiff"
PYRAMID = cast("Pyramid", SimpleNamespace(width=300, height=200, levels=1, tile_size=512, profile="deflate"))
MADE_AS = {"fingerprint": "f" * 32, "rules_version": "1", "box": Box(4000, 4000)}
METADATA = pyramid_metadata(PYRAMID, source_sha256="s" * 64, **MADE_AS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield s3_client(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def images(moto: Any, request: pytest.FixtureRequest) -> ImageBucket:
    name = f"images-{abs(hash(request.node.name))}"
    moto.create_bucket(Bucket=name)
    return ImageBucket(moto, name, multipart_bytes=6 * 2**20, part_bytes=5 * 2**20)


@pytest.fixture
def server() -> Iterator[S3Server]:
    running = S3Server()
    yield running
    running.stop()


@pytest.fixture
def odd(server: S3Server) -> ImageBucket:
    return ImageBucket(s3_client(server.url), "bucket")


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    path = tmp_path / "pyramid.tif"
    path.write_bytes(os.urandom(5000))
    return path


def publish(bucket: ImageBucket, path: Path, key: str = "a/b.tif") -> Published:
    return bucket.publish(path, key, content_type=TIFF, metadata=METADATA)


class TestPublish:
    @pytest.mark.parametrize("size", [0, 1, 5000, 6 * 2**20, 11 * 2**20 + 7])
    def test_bytes_type_metadata_and_checksum_of_the_whole_arrive(
        self, moto: Any, images: ImageBucket, tmp_path: Path, size: int
    ) -> None:
        path = tmp_path / "p.tif"
        path.write_bytes(os.urandom(size))
        published = publish(images, path, "a/é, b.tif")
        stored = moto.get_object(Bucket=images.bucket, Key="a/é, b.tif")
        assert stored["Body"].read() == path.read_bytes()
        assert stored["ContentType"] == TIFF
        for name, value in {"width": "300", "height": "200", "pages": "1", "tilesize": "512"}.items():
            assert stored["Metadata"][name] == value
        assert published.crc32 == base64.b64encode(zlib.crc32(path.read_bytes()).to_bytes(4, "big")).decode()
        assert published.size == size
        assert published.uri == s3_uri(images.bucket, "a/é, b.tif")
        assert (published.width, published.height, published.levels) == (300, 200, 1)
        assert not published.superseded
        assert images.head("a/é, b.tif") == published

    def test_a_new_object_replaces_the_old_with_its_metadata(
        self, images: ImageBucket, pyramid: Path
    ) -> None:
        images.publish(pyramid, "k", content_type="text/plain", metadata={"old": "1"})
        assert "old" not in publish(images, pyramid, "k").metadata

    def test_a_server_without_checksums_is_verified_by_its_etag(
        self, server: S3Server, odd: ImageBucket, pyramid: Path
    ) -> None:
        server.checksums = False
        assert publish(odd, pyramid).crc32 is None
        assert not any(line.startswith("GET") for line in server.seen)

    def test_a_server_without_checksums_and_md5_is_read_back(
        self, server: S3Server, odd: ImageBucket, pyramid: Path
    ) -> None:
        server.checksums = False
        server.mangle = lambda stored: replace(stored, etag="0" * 32)
        publish(odd, pyramid)
        assert "GET a/b.tif" in server.seen

    @pytest.mark.parametrize("corrupt", [False, True])
    def test_a_server_that_ceases_to_keep_checksums_is_read_back(
        self, server: S3Server, odd: ImageBucket, pyramid: Path, corrupt: bool
    ) -> None:
        publish(odd, pyramid)
        assert "marble-md5" not in publish(odd, pyramid).metadata
        server.checksums = False
        if corrupt:
            server.mangle = lambda stored: replace(
                stored, body=stored.body[:-1] + bytes([stored.body[-1] ^ 1])
            )
            with pytest.raises(PublishError, match="holds other bytes"):
                publish(odd, pyramid)
        else:
            publish(odd, pyramid)
        assert "GET a/b.tif" in server.seen

    @pytest.mark.parametrize("checksums", [True, False])
    @pytest.mark.parametrize("size", [5 * 2**20, 5 * 2**20 + 1, 10 * 2**20, 11 * 2**20 + 7])
    def test_an_upload_in_parts_is_known_to_be_whole_by_what_the_server_keeps(
        self, server: S3Server, tmp_path: Path, size: int, checksums: bool
    ) -> None:
        server.checksums = checksums
        in_parts = ImageBucket(
            s3_client(server.url), "bucket", multipart_bytes=5 * 2**20, part_bytes=5 * 2**20
        )
        path = tmp_path / "large.tif"
        path.write_bytes(os.urandom(size))
        published = publish(in_parts, path)
        assert published.etag.endswith(f"-{-(-size // (5 * 2**20))}")
        later = ImageBucket(s3_client(server.url), "bucket").head("a/b.tif")
        assert is_of(later, MADE_AS["fingerprint"])  # type: ignore[arg-type]
        assert is_current(later, profile="deflate", **MADE_AS)  # type: ignore[arg-type]
        assert not any(line.startswith("GET") for line in server.seen)

    def test_where_nothing_tells_the_bytes_they_are_read_once_an_upload_and_decide(
        self, server: S3Server, odd: ImageBucket, pyramid: Path
    ) -> None:
        server.checksums = False
        server.mangle = lambda stored: replace(stored, etag="of-a-kind-of-its-own")
        publish(odd, pyramid)
        assert is_current(odd.head("a/b.tif"), profile="deflate", **MADE_AS)  # type: ignore[arg-type]
        assert server.seen.count("GET a/b.tif") == 1
        held = server.objects["a/b.tif"]
        server.objects["a/b.tif"] = replace(held, body=held.body[:-1] + bytes([held.body[-1] ^ 1]))
        later = ImageBucket(s3_client(server.url), "bucket").head("a/b.tif")
        assert not is_current(later, profile="deflate", **MADE_AS)  # type: ignore[arg-type]

    def test_the_object_of_somebody_else_is_not_read(self, server: S3Server, odd: ImageBucket) -> None:
        server.checksums = False
        server.objects["a/b.tif"] = Stored(b"theirs", {"Content-Type": TIFF}, "e")
        assert not is_of(odd.head("a/b.tif"), MADE_AS["fingerprint"])  # type: ignore[arg-type]
        assert not any(line.startswith("GET") for line in server.seen)

    @pytest.mark.parametrize("checksums", [True, False])
    @pytest.mark.parametrize(
        "mangle",
        [
            lambda stored: replace(stored, body=stored.body[:-1]),
            lambda stored: replace(stored, body=stored.body[:-1] + b"?", etag="0" * 32),
            lambda stored: replace(stored, body=b"", etag="0" * 32),
            lambda stored: replace(stored, headers={**stored.headers, "Content-Type": "text/html"}),
            lambda stored: replace(stored, headers={"Content-Type": TIFF}),
            lambda stored: replace(
                stored, headers={n: v for n, v in stored.headers.items() if n.lower() != "x-amz-meta-width"}
            ),
            lambda _: None,
        ],
        ids=["short", "other bytes", "empty", "other type", "no metadata", "less metadata", "nothing"],
    )
    def test_what_is_not_held_as_sent_is_sent_once_more_and_then_an_error(
        self, server: S3Server, odd: ImageBucket, pyramid: Path, mangle: Any, checksums: bool
    ) -> None:
        pyramid.write_bytes(pyramid.read_bytes()[:-1] + b"!")
        server.checksums = checksums
        server.mangle = mangle
        with pytest.raises(PublishError, match="bucket"):
            publish(odd, pyramid)
        assert [line for line in server.seen if line.startswith("PUT")] == ["PUT a/b.tif"] * 2

    def test_a_slip_is_mended_by_the_second_try(
        self, server: S3Server, odd: ImageBucket, pyramid: Path
    ) -> None:
        slips = [True]

        def mangle(stored: Stored) -> Stored:
            return replace(stored, body=b"x" * len(stored.body)) if slips and slips.pop() else stored

        server.mangle = mangle
        publish(odd, pyramid)
        assert server.objects["a/b.tif"].body == pyramid.read_bytes()

    def test_an_object_that_another_run_put_there_meanwhile_is_told_as_such(
        self, server: S3Server, odd: ImageBucket, pyramid: Path
    ) -> None:
        others = {"Content-Type": TIFF, "x-amz-meta-marble-upload": "other", "x-amz-meta-width": "7"}
        server.mangle = lambda _: Stored(b"others", others, "e")
        published = publish(odd, pyramid)
        assert published.superseded
        assert (published.width, published.size) == (7, 6)

    def test_of_runs_that_publish_at_once_one_wins_whole(
        self, server: S3Server, odd: ImageBucket, tmp_path: Path
    ) -> None:
        def run(number: int) -> Published:
            path = tmp_path / f"{number}.tif"
            path.write_bytes(bytes([number]) * (1000 + number))
            return odd.publish(path, "k", content_type=TIFF, metadata={"width": str(1000 + number)})

        with ThreadPoolExecutor(8) as threads:
            runs = list(threads.map(run, range(1, 25)))
        assert all(run.width == run.size for run in runs)
        held = odd.head("k")
        assert held is not None
        assert held.width == held.size == len(server.objects["k"].body)

    @pytest.mark.parametrize("told", [(500, "InternalError"), (503, "SlowDown")])
    def test_a_passing_failure_is_tried_again(
        self, server: S3Server, odd: ImageBucket, pyramid: Path, told: tuple[int, str]
    ) -> None:
        server.statuses = [told]
        publish(odd, pyramid)
        assert server.objects["a/b.tif"].body == pyramid.read_bytes()

    @pytest.mark.parametrize(
        ("told", "said"),
        [
            ((403, "AccessDenied"), "refuses access"),
            ((404, "NoSuchBucket"), "does not exist"),
            ((403, "InvalidAccessKeyId"), "credentials"),
            ((500, "InternalError"), "InternalError"),
            ((400, "InvalidRequest"), "InvalidRequest"),
        ],
    )
    def test_a_lasting_failure_is_one_line_that_names_the_bucket(
        self, server: S3Server, odd: ImageBucket, pyramid: Path, told: tuple[int, str], said: str
    ) -> None:
        server.always = told
        for call in (lambda: publish(odd, pyramid), lambda: odd.delete("k")):
            with pytest.raises(PublishError, match=f"the bucket bucket .*{said}") as raised:
                call()
            assert str(pyramid) not in str(raised.value)

    def test_a_file_that_is_not_there_is_an_error_of_the_file(self, odd: ImageBucket, tmp_path: Path) -> None:
        with pytest.raises(PublishError, match="could not be read"):
            publish(odd, tmp_path / "none.tif")

    def test_a_pdf_copy_is_a_pdf(self, moto: Any, images: ImageBucket, pyramid: Path) -> None:
        images.publish_pdf(pyramid, "a.pdf", fingerprint="f", source_sha256="s")
        assert moto.head_object(Bucket=images.bucket, Key="a.pdf")["ContentType"] == "application/pdf"


class TestHead:
    def test_nothing_there_is_none_until_it_is_published_and_after_it_is_deleted(
        self, images: ImageBucket, pyramid: Path
    ) -> None:
        assert images.head("a/b.tif") is None
        publish(images, pyramid)
        assert images.head("a/b.tif") is not None
        images.delete("a/b.tif")
        images.delete("a/b.tif")
        assert images.head("a/b.tif") is None

    def test_a_missing_bucket_is_not_a_missing_object(self, moto: Any) -> None:
        with pytest.raises(PublishError, match="the bucket nowhere does not exist"):
            ImageBucket(moto, "nowhere").head("a")

    def test_a_refusal_is_not_a_missing_object(self, server: S3Server, odd: ImageBucket) -> None:
        server.always = (403, "AccessDenied")
        with pytest.raises(PublishError, match="refuses access"):
            odd.head("a")

    def test_a_closed_port_is_told_in_one_line(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(PublishError, match="the bucket images could not be reached"):
            ImageBucket(s3_client(f"http://127.0.0.1:{port}", tries=1), "images").head("a")


class TestMetadata:
    @given(
        st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True),
            st.text(min_size=1, max_size=30),
            max_size=4,
        )
    )
    def test_any_text_comes_back_as_it_was(self, values: dict[str, str]) -> None:
        encoded = encode_metadata(values)
        assert all(value.isascii() and value.isprintable() and " " not in value for value in encoded.values())
        assert decode_metadata(encoded) == values

    def test_text_survives_the_server(self, moto: Any, images: ImageBucket, pyramid: Path) -> None:
        value = "  é 漢\n100 % %41 =?utf-8?q?x?= \t"
        images.publish(pyramid, "k", content_type=TIFF, metadata={"marble-note": value, "empty": ""})
        held = images.head("k")
        assert held is not None
        assert held.metadata["marble-note"] == value
        assert "empty" not in held.metadata

    def test_more_than_s3_takes_is_refused_before_it_is_sent(
        self, server: S3Server, odd: ImageBucket, pyramid: Path
    ) -> None:
        with pytest.raises(PublishError, match="2048"):
            odd.publish(pyramid, "k", content_type=TIFF, metadata={"note": "é" * 400})
        assert server.seen == []

    def test_an_id_of_any_length_leaves_room_for_the_rest(self, images: ImageBucket, pyramid: Path) -> None:
        metadata = [
            pyramid_metadata(PYRAMID, source_sha256="s" * 64, file_path=path, **MADE_AS)  # type: ignore[arg-type]
            for path in ("a/é.jpg", "é" * 500)
        ]
        assert [values.get("marble-file") for values in metadata] == ["a/é.jpg", None]
        images.publish(pyramid, "k", content_type=TIFF, metadata=metadata[1])


class TestIsCurrent:
    SAID = upload_metadata(upload="u", size=10, crc32="c", md5="e", etag="p-2")
    HELD = Published("k", "s3://b/k", 10, "e", TIFF, metadata={**METADATA, **SAID})

    def test_a_pyramid_made_the_same_way_is_current(self) -> None:
        assert is_current(self.HELD, profile="deflate", **MADE_AS)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "change",
        [{"fingerprint": "0" * 32}, {"rules_version": "2"}, {"box": Box(843, 560)}, {"profile": "jpeg"}],
    )
    def test_a_pyramid_made_in_another_way_is_not(self, change: dict[str, Any]) -> None:
        assert not is_current(self.HELD, **{"profile": "deflate", **MADE_AS, **change})

    @pytest.mark.parametrize("lost", ["width", "height", "pages", "tilesize"])
    @pytest.mark.parametrize("value", [None, "", "0", "-3", "12.5", "x", "9" * 40])
    def test_a_pyramid_that_does_not_say_its_size_is_not(self, lost: str, value: str | None) -> None:
        metadata = {name: text for name, text in self.HELD.metadata.items() if name != lost}
        held = replace(self.HELD, metadata=metadata if value is None else {**metadata, lost: value})
        assert not is_current(held, profile="deflate", **MADE_AS)  # type: ignore[arg-type]

    @pytest.mark.parametrize("held", [None, replace(HELD, size=0), replace(HELD, content_type="text/html")])
    def test_what_is_no_pyramid_is_not(self, held: Published | None) -> None:
        assert not is_current(held, profile="deflate", **MADE_AS)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "change", [{"size": 9}, {"crc32": "d"}, {"etag": "f"}, {"metadata": METADATA}], ids=str
    )
    def test_a_pyramid_whose_bytes_are_not_those_that_were_sent_is_not(self, change: dict[str, Any]) -> None:
        assert not is_current(replace(self.HELD, **change), profile="deflate", **MADE_AS)  # type: ignore[arg-type]

    def test_the_checksum_that_the_server_keeps_decides(self) -> None:
        held = replace(self.HELD, crc32="c", etag="of-parts-2")
        assert is_current(held, profile="deflate", **MADE_AS)  # type: ignore[arg-type]

    def test_the_etag_of_the_parts_decides_where_no_checksum_is_kept(self) -> None:
        held = replace(self.HELD, etag="p-2")
        assert is_current(held, profile="deflate", **MADE_AS)  # type: ignore[arg-type]

    def test_what_was_published_is_current(self, images: ImageBucket, pyramid: Path) -> None:
        publish(images, pyramid)
        assert is_current(images.head("a/b.tif"), profile="deflate", **MADE_AS)  # type: ignore[arg-type]

"""Harmless oddities pass, damage does not, and a header that lies is found before room is made for it."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from marble_images.errors import (
    CorruptImage,
    ImageError,
    ImageTooLarge,
    InvalidPyramid,
    NoDiskSpace,
    TruncatedImage,
    UnsupportedFormat,
)
from marble_images.pyramid import arrays, convert
from marble_images.pyramid.arrays import to_unsigned
from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.model import ConvertOptions
from marble_images.pyramid.vips import VipsImage
from marble_images.pyramid.write import write_pyramid
from marble_images_tests.pyramid.images import Array, patches, rgb

_EOI = b"\xff\xd9"


def jpeg(**options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb()).save(buffer, "JPEG", quality=98, subsampling=0, **options)
    return buffer.getvalue()


def converted(data: bytes, tmp_path: Path) -> tuple[Array, tuple[str, ...]]:
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    source.write_bytes(data)
    pyramid = make_pyramid(source, target)
    return tifffile.imread(target, key=0), pyramid.warnings


def is_right(written: Array) -> bool:
    return bool(np.abs(patches(written) - patches(rgb())).max() <= 2)


def test_a_jpeg_with_rubbish_after_its_end_passes(tmp_path: Path) -> None:
    written, warnings = converted(jpeg() + b"camera" * 1000, tmp_path)
    assert is_right(written)
    assert not warnings


def test_a_jpeg_that_lacks_only_its_end_marker_passes_with_a_warning(tmp_path: Path) -> None:
    data = jpeg()
    for cut in (1, 2):
        written, warnings = converted(data[:-cut], tmp_path)
        assert is_right(written)
        assert warnings == ("the JPEG file lacks its end marker",)


def test_a_jpeg_with_padding_before_its_end_passes(tmp_path: Path) -> None:
    written, _ = converted(jpeg()[:-2] + bytes(16) + _EOI, tmp_path)
    assert is_right(written)


def test_a_jpeg_with_stray_bytes_between_headers_passes_with_a_warning(tmp_path: Path) -> None:
    data = jpeg()
    at = data.index(b"\xff\xdb")
    written, warnings = converted(data[:at] + b"stray" + data[at:], tmp_path)
    assert is_right(written)
    assert warnings == ("the JPEG file has stray bytes between its headers",)


def test_fill_bytes_before_a_marker_are_no_oddity(tmp_path: Path) -> None:
    data = jpeg()
    at = data.index(b"\xff\xdb")
    written, warnings = converted(data[:at] + b"\xff\xff\xff" + data[at:], tmp_path)
    assert is_right(written)
    assert not warnings


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.98])
def test_a_jpeg_that_was_cut_and_given_an_end_is_refused(
    share: float, progressive: bool, tmp_path: Path
) -> None:
    noise = np.random.default_rng(5).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=90, progressive=progressive)
    data = buffer.getvalue()
    (tmp_path / "source").write_bytes(data[: int(len(data) * share)] + _EOI)
    with pytest.raises((TruncatedImage, CorruptImage)):
        make_pyramid(tmp_path / "source", tmp_path / "pyramid.tif")


def test_a_progressive_jpeg_without_its_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(jpeg(progressive=True)[:-2])
    with pytest.raises(TruncatedImage, match="the JPEG file is truncated"):
        make_pyramid(tmp_path / "source", tmp_path / "pyramid.tif")


def test_a_jpeg_of_headers_alone_is_refused(tmp_path: Path) -> None:
    data = jpeg()
    (tmp_path / "source").write_bytes(data[: data.index(b"\xff\xda")] + _EOI)
    with pytest.raises(CorruptImage, match="no picture data"):
        make_pyramid(tmp_path / "source", tmp_path / "pyramid.tif")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _lying_png(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _lying_bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + head + bytes(900)


def _lying_tiff(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, rgb(), photometric="rgb", metadata=None, rowsperstrip=64)
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags
        for tag, value in ((256, width), (257, height), (278, height)):
            struct.pack_into("<H" if tags[tag].dtype == 3 else "<I", data, tags[tag].valueoffset, value)
    return bytes(data)


@pytest.mark.parametrize("build", [_lying_png, _lying_bmp, _lying_tiff])
def test_a_header_that_claims_too_much_is_refused(build: object, tmp_path: Path) -> None:
    assert callable(build)
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    source.write_bytes(build(60000, 60000))
    with pytest.raises(ImageTooLarge, match="60000 x 60000 pixels, more than the limit of 2,000,000,000"):
        make_pyramid(source, target)
    source.write_bytes(build(30000, 30000))
    with pytest.raises((TruncatedImage, CorruptImage)):
        make_pyramid(source, target)


def test_a_tiff_whose_pieces_are_missing_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, rgb(), photometric="rgb", metadata=None, tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(source, mode="r+") as file:
        counts = file.pages[0].tags[325]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(TruncatedImage, match="1 of 6 pieces of the picture are missing"):
        make_pyramid(source, tmp_path / "pyramid.tif")


def test_a_raw_file_of_a_camera_is_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / "source.dng"
    tifffile.imwrite(
        source, rgb(), photometric="rgb", metadata=None, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)]
    )
    with pytest.raises(UnsupportedFormat, match=r"camera raw images \(DNG\)"):
        make_pyramid(source, tmp_path / "pyramid.tif")


@pytest.mark.parametrize(("frames", "counted"), [(3, 3), (9, 5)])
def test_pages_are_counted_up_to_the_limit(frames: int, counted: int, tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, np.stack([rgb()] * frames), photometric="rgb", metadata=None)
    pyramid = make_pyramid(source, tmp_path / "pyramid.tif", ConvertOptions(max_pages=5))
    assert pyramid.source_pages == counted


def test_a_picture_that_the_writer_spoils_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(image: VipsImage, *arguments: object, **options: object) -> object:
        return write_pyramid(image.fliphor(), *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(convert, "write_pyramid", spoil)
    source = tmp_path / "source.png"
    Image.fromarray(rgb()).save(source)
    with pytest.raises(InvalidPyramid, match="the pyramid is not valid"):
        make_pyramid(source, tmp_path / "pyramid.tif")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("name", ["source.tif", "source.png"])
def test_a_full_disk_is_no_fault_of_the_picture(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(arrays, "_MEMORY_BYTES", 100)
    if name == "source.png":
        monkeypatch.setattr(convert, "write_pyramid", full)
    source = tmp_path / name
    if name == "source.png":
        Image.fromarray(rgb()).save(source)
    else:
        tifffile.imwrite(source, rgb(), photometric="rgb", compression="zstd")
    with pytest.raises(NoDiskSpace):
        make_pyramid(source, tmp_path / "pyramid.tif")
    assert list(tmp_path.iterdir()) == [source]


def test_a_large_array_lies_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_MEMORY_BYTES", 100)
    array = arrays.new_array((20, 10, 3), np.uint16)
    assert isinstance(array, np.memmap)
    array[:] = 7
    assert int(array.sum()) == 20 * 10 * 3 * 7


_SCALARS = st.sampled_from(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])


@given(_SCALARS, st.integers(0, 2**32 - 1))
def test_samples_of_any_type_become_unsigned_within_their_range(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(np.dtype(kind).itemsize)
    array = rng.integers(0, 256, 5 * 7 * size, dtype=np.uint8).view(kind).reshape(5, 7, 1)
    unsigned, maximum, _ = to_unsigned(array, 1)
    assert unsigned.dtype in (np.uint8, np.uint16)
    assert unsigned.shape == array.shape
    assert unsigned.max() <= maximum


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_place_of_a_jpegs_middle_fail_in_one_line_or_pass(
    data: st.DataObject, tmp_path: Path
) -> None:
    original = jpeg()
    at = data.draw(st.integers(2, len(original) - 1))
    middle = data.draw(st.binary(min_size=1, max_size=40))
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    source.write_bytes(original[:at] + middle + original[at + len(middle) :])
    target.unlink(missing_ok=True)
    try:
        make_pyramid(source, target)
    except ImageError:
        assert not target.exists()
    assert not list(tmp_path.glob("*.part"))
    assert not list(tmp_path.glob(".*.part"))


def test_a_tiff_without_the_plane_of_an_extra_that_means_nothing_passes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    planes = np.concatenate([np.moveaxis(rgb(), 2, 0), rgb()[np.newaxis, :, :, 0]])
    tifffile.imwrite(
        *(buffer, planes),
        photometric="rgb",
        planarconfig="separate",
        extrasamples=["unspecified"],
        compression="zlib",
        metadata=None,
    )
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offsets = file.pages.first.tags[273]
        assert (offsets.dtype, offsets.count) == (4, 4)
    struct.pack_into("<I", data, offsets.valueoffset + 12, 0)
    written, _ = converted(bytes(data), tmp_path)
    assert is_right(written)
    struct.pack_into("<I", data, offsets.valueoffset + 8, 0)
    with pytest.raises(TruncatedImage, match="1 of 3 pieces"):
        converted(bytes(data), tmp_path)

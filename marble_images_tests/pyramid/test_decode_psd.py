"""Photoshop files of every mode and depth, written here byte by byte, become the picture that they show."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from marble_images.errors import CorruptImage, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat, identify
from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.describe import describe
from marble_images_tests.pyramid.images import Array, alpha, bilevel, grey, lab_of, on_white, patches, rgb

_GREY, _INDEXED, _RGB, _CMYK, _MULTICHANNEL, _DUOTONE, _LAB = 1, 2, 3, 4, 7, 8, 9
_RAW, _RLE, _ZIP = 0, 1, 2


def psd(
    planes: Array,
    mode: int,
    depth: int,
    *,
    large: bool = False,
    compression: int = _RAW,
    layers: int | None = None,
    deep_alpha: bool = False,
    palette: bytes = b"",
    resources: dict[int, bytes] | None = None,
) -> bytes:
    """A Photoshop file of planes (channels, height, width), after Adobe's specification."""
    wide = ">Q" if large else ">I"
    channels, height, width = planes.shape
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 2 if large else 1, channels, height, width, depth, mode)
    blocks = b""
    for kind, data in (resources or {}).items():
        # A name of two characters and its length are three bytes, so one of padding.
        blocks += b"8BIM" + struct.pack(">HB", kind, 2) + b"ab\0" + struct.pack(">I", len(data)) + data
        blocks += bytes(len(data) % 2)
    layer_info = b"" if layers is None else struct.pack(">h", layers) + bytes(2)
    section = struct.pack(wide, len(layer_info)) + layer_info + struct.pack(">I", 0)
    if deep_alpha:
        section += b"8BIMMt16" + struct.pack(">Q" if large else ">I", 0)
    stored = np.packbits(~planes, axis=-1) if depth == 1 else planes.astype(planes.dtype.newbyteorder(">"))
    rows = [stored[c, y].tobytes() for c in range(channels) for y in range(height)]
    if compression == _RLE:
        rows = [imagecodecs.packbits_encode(row) for row in rows]
        data = np.array([len(row) for row in rows], ">u4" if large else ">u2").tobytes() + b"".join(rows)
    else:
        data = b"".join(rows)
        data = zlib.compress(data) if compression == _ZIP else data
    return b"".join(
        [
            *(header, struct.pack(">I", len(palette)), palette, struct.pack(">I", len(blocks)), blocks),
            *(struct.pack(wide, len(section)), section, struct.pack(">H", compression), data),
        ]
    )


def planar(picture: Array) -> Array:
    return np.moveaxis(picture, -1, 0) if picture.ndim == 3 else picture[np.newaxis]


def converted(data: bytes, tmp_path: Path) -> Array:
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    source.write_bytes(data)
    make_pyramid(source, target)
    return tifffile.imread(target, key=0)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("compression", [_RAW, _RLE, _ZIP])
@pytest.mark.parametrize("depth", [8, 16])
def test_rgb_of_each_depth_compression_and_size_of_file(
    depth: int, compression: int, large: bool, tmp_path: Path
) -> None:
    picture = rgb() if depth == 8 else rgb().astype(np.uint16) * 257
    data = psd(planar(picture), _RGB, depth, compression=compression, large=large)
    assert identify(data) is ImageFormat.PSD
    assert np.array_equal(converted(data, tmp_path), rgb())


@pytest.mark.parametrize("mode", [_GREY, _DUOTONE])
def test_grey_and_duotone_are_grey(mode: int, tmp_path: Path) -> None:
    assert np.array_equal(converted(psd(planar(grey()), mode, 8), tmp_path), grey())


def test_in_a_bitmap_ones_are_black(tmp_path: Path) -> None:
    written = converted(psd(planar(bilevel()), 0, 1), tmp_path)
    assert np.array_equal(written, np.where(bilevel(), 255, 0))


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_are_expanded(transparent: bool, tmp_path: Path) -> None:
    quantized = Image.fromarray(rgb()).quantize(24)
    flat = np.frombuffer(bytes(quantized.getpalette() or ()), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(flat)] = flat
    indices = np.asarray(quantized)
    truth = palette[indices]
    resources = {}
    if transparent:
        resources = {1047: struct.pack(">H", indices[0, 0])}
        truth = np.where((indices == indices[0, 0])[:, :, np.newaxis], 255, truth)
    data = psd(planar(indices), _INDEXED, 8, palette=palette.T.tobytes(), resources=resources)
    assert np.array_equal(converted(data, tmp_path), truth)


def test_cmyk_is_stored_as_light(tmp_path: Path) -> None:
    light = planar(255 - np.asarray(Image.fromarray(rgb()).convert("CMYK")))
    written = converted(psd(light.astype(np.uint8), _CMYK, 8), tmp_path)
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, 255 - np.moveaxis(light, 0, -1), photometric="separated")
    make_pyramid(source, tmp_path / "same.tif")
    assert np.array_equal(written, tifffile.imread(tmp_path / "same.tif", key=0))
    assert written.mean() > 100


@pytest.mark.parametrize("depth", [8, 16])
def test_lab_is_converted(depth: int, tmp_path: Path) -> None:
    step = 1 if depth == 8 else 256
    lab = lab_of(rgb())
    full = 2**depth - 1
    stored = np.stack(
        [lab[:, :, 0] / 100 * full, (lab[:, :, 1] + 128) * step, (lab[:, :, 2] + 128) * step], axis=-1
    )
    samples = np.clip(np.rint(stored), 0, full).astype(np.uint8 if depth == 8 else np.uint16)
    written = converted(psd(planar(samples), _LAB, depth), tmp_path)
    assert np.abs(patches(written) - patches(rgb())).max() <= 4


def test_32_bits_are_linear_light(tmp_path: Path) -> None:
    share = rgb().astype(np.float32) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)
    written = converted(psd(planar(linear), _RGB, 32), tmp_path)
    assert np.abs(written.astype(int) - rgb()).max() <= 1


def with_matte(depth: int) -> Array:
    """The picture as Photoshop merges it: transparent parts mixed with white, then the opacity."""
    picture = on_white(rgb(), alpha())
    samples = np.dstack([picture, alpha()])
    return planar(samples if depth == 8 else samples.astype(np.uint16) * 257)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_merged_picture_with_opacity_is_shown_on_white_once(depth: int, tmp_path: Path) -> None:
    arguments = {"layers": -1} if depth == 8 else {"deep_alpha": True}
    written = converted(psd(with_matte(depth), _RGB, depth, **arguments), tmp_path)
    assert np.abs(written.astype(int) - on_white(rgb(), alpha())).max() <= 2


@pytest.mark.parametrize("said", [{"layers": 3}, {"resources": {1006: b"\x07Alpha 1"}}])
def test_channels_that_people_saved_are_no_opacity(said: dict[str, object], tmp_path: Path) -> None:
    saved = np.dstack([rgb(), alpha()])
    written = converted(psd(planar(saved), _RGB, 8, **said), tmp_path)  # type: ignore[arg-type]
    assert np.array_equal(written, rgb())


def test_the_profile_is_used(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    source = tmp_path / "source"
    source.write_bytes(psd(planar(rgb()), _RGB, 8, resources={1039: profile}))
    pyramid = make_pyramid(source, tmp_path / "pyramid.tif")
    assert pyramid.warnings == ("the ICC profile is for XYZ pixels, the picture is RGB: ignored",)


@pytest.mark.parametrize("large", [False, True])
def test_the_header_tells_what_the_file_is(large: bool, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(psd(planar(rgb().astype(np.uint16) * 257), _RGB, 16, large=large))
    found = describe(source)
    assert (found["format"], found["width"], found["height"]) == ("Photoshop", 96, 64)
    assert (found["bands"], found["bits"], found["interpretation"]) == (3, 16, "rgb")


def test_spot_colours_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="spot colours"):
        converted(psd(planar(rgb()), _MULTICHANNEL, 8), tmp_path)


def test_a_file_without_its_merged_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="without its merged picture"):
        converted(psd(planar(rgb()), _RGB, 8, resources={1057: b"\0\0\0\1\0"}), tmp_path)


@pytest.mark.parametrize("compression", [_RAW, _RLE, _ZIP])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_cut_files_are_refused(share: float, compression: int, tmp_path: Path) -> None:
    data = psd(planar(rgb()), _RGB, 8, compression=compression)
    with pytest.raises((TruncatedImage, CorruptImage)):
        converted(data[: max(27, int(len(data) * share))], tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photoshop_files_come_out_upright(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(rgb())
    image.getexif()[0x0112] = orientation
    truth = np.asarray(ImageOps.exif_transpose(image))
    block = Image.Exif()
    block[0x0112] = orientation
    exif = block.tobytes().removeprefix(b"Exif\0\0")
    xmp = f'<x tiff:Orientation="{orientation}"/>'.encode()
    for resources in ({1058: exif}, {1060: xmp}):
        assert np.array_equal(converted(psd(planar(rgb()), _RGB, 8, resources=resources), tmp_path), truth)

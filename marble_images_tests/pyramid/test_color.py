"""Colours come out as littleCMS renders them, whatever space the source is in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.model import Pyramid
from marble_images.pyramid.vips import pyvips
from marble_images_tests.pyramid.images import Array, delta_e, grey, lab_of, patches, profile_bytes, rgb

_BLACK_POINT_COMPENSATION = 0x2000
_RELATIVE = 1


def convert(source: Path) -> tuple[Array, Pyramid]:
    target = source.parent / "pyramid.tif"
    pyramid = make_pyramid(source, target)
    return tifffile.imread(target, key=0), pyramid


def worst(written: Array, truth: Array) -> float:
    """The largest difference (delta E 1976) between the patches of two sRGB pictures."""
    return float(
        delta_e(np.rint(patches(written)).astype(np.uint8), np.rint(patches(truth)).astype(np.uint8)).max()
    )


def through(profile: bytes, array: Array, colorspace: str) -> Array:
    """The truth: littleCMS from a profile to sRGB, relative colorimetric, black point compensation."""
    converted = imagecodecs.cms_transform(
        array, profile, imagecodecs.cms_profile("srgb"), colorspace=colorspace, outcolorspace="rgb",
        outdtype=np.uint8, intent=_RELATIVE, flags=_BLACK_POINT_COMPENSATION,
    )  # fmt: skip
    return np.asarray(converted)


def cmyk() -> Array:
    """The picture in ink, uint8 of shape (64, 96, 4): a crude separation with some black in it."""
    inks = 255 - rgb().astype(np.int16)
    black = inks.min(axis=2, keepdims=True) * 2 // 3
    return np.concatenate([inks - black, black], axis=2).astype(np.uint8)


def cmyk_profile() -> bytes:
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


@pytest.mark.parametrize("name", ["Adobe RGB", "Display P3", "ProPhoto"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_a_wide_gamut_is_converted_through_its_profile(name: str, kind: str, tmp_path: Path) -> None:
    profile = profile_bytes(name)
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 98, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }
    source = tmp_path / "source"
    Image.fromarray(rgb()).save(source, kind, icc_profile=profile, **options.get(kind, {}))
    with Image.open(source) as stored:
        decoded = np.asarray(stored.convert("RGB"))
    written, pyramid = convert(source)
    truth = through(profile, decoded, "rgb")
    assert worst(truth, rgb()) > 3
    assert worst(written, truth) <= 2
    assert not pyramid.warnings


def test_jpeg_2000_is_converted_through_its_profile(tmp_path: Path) -> None:
    profile = profile_bytes("Adobe RGB")
    plain = io.BytesIO()
    Image.fromarray(rgb()).save(plain, "JPEG2000")
    data = plain.getvalue()
    header, colour = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    size = int.from_bytes(data[colour : colour + 4], "big")
    box = (len(profile) + 11).to_bytes(4, "big") + b"colr\x02\x00\x00" + profile
    grown = int.from_bytes(data[header : header + 4], "big") + len(box) - size
    source = tmp_path / "source.jp2"
    source.write_bytes(
        data[:header] + grown.to_bytes(4, "big") + data[header + 4 : colour] + box + data[colour + size :]
    )
    written, pyramid = convert(source)
    assert worst(written, through(profile, rgb(), "rgb")) <= 2
    assert not pyramid.warnings


@pytest.mark.parametrize("name", ["Adobe RGB", "ProPhoto"])
def test_16_bits_are_converted_through_their_profile(name: str, tmp_path: Path) -> None:
    profile, source = profile_bytes(name), tmp_path / "source.tif"
    tifffile.imwrite(
        source, rgb().astype(np.uint16) * 257, photometric="rgb", iccprofile=profile, metadata=None
    )
    written, _ = convert(source)
    assert worst(written, through(profile, rgb(), "rgb")) <= 2


def test_a_profile_that_is_srgb_by_another_name_changes_no_pixel(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(rgb()).save(source, icc_profile=profile)
    written, _ = convert(source)
    assert np.array_equal(written, rgb())


def test_a_grey_profile_is_used_and_the_picture_stays_grey(tmp_path: Path) -> None:
    profile = bytes(imagecodecs.cms_profile("gray", whitepoint=(0.3457, 0.3585, 1.0), gamma=1.0))
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, grey(), iccprofile=profile, metadata=None)
    written, pyramid = convert(source)
    linear = grey().astype(float) / 255
    truth = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )
    assert written.ndim == 2
    assert np.abs(written - truth * 255).max() <= 1.5
    assert not pyramid.warnings


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_profile_of_another_space_is_ignored_with_a_warning(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    Image.fromarray(grey()).save(source, kind, icc_profile=profile_bytes("Adobe RGB"))
    written, pyramid = convert(source)
    assert written.ndim == 2
    assert np.abs(patches(written) - patches(grey())).max() <= 1
    assert pyramid.warnings == ("the ICC profile is for RGB pixels, the picture is grey: ignored",)


@pytest.mark.parametrize("damage", [b"not a profile at all" * 20, None])
def test_a_broken_profile_is_ignored_with_a_warning(damage: bytes | None, tmp_path: Path) -> None:
    profile = damage or profile_bytes("Adobe RGB")[:200]
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, rgb(), photometric="rgb", iccprofile=profile, metadata=None)
    written, pyramid = convert(source)
    assert np.array_equal(written, rgb())
    assert pyramid.warnings == ("the ICC profile is damaged: ignored",)


def test_a_profile_whose_numbers_make_noise_is_ignored_with_a_warning(tmp_path: Path) -> None:
    profile = bytearray(profile_bytes("Adobe RGB"))
    for tag in (b"rXYZ", b"gXYZ", b"bXYZ"):
        at = profile.index(tag, 128)
        offset = int.from_bytes(profile[at + 4 : at + 8], "big")
        profile[offset + 8 : offset + 20] = bytes(12)
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, rgb(), photometric="rgb", iccprofile=bytes(profile), metadata=None)
    written, pyramid = convert(source)
    assert np.array_equal(written, rgb())
    assert len(pyramid.warnings) == 1
    assert "the ICC profile" in pyramid.warnings[0]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("tagged", [True, False])
def test_cmyk_tiff(tagged: bool, depth: int, tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    samples = cmyk() if depth == 8 else cmyk().astype(np.uint16) * 257
    profile = cmyk_profile() if tagged else None
    tifffile.imwrite(source, samples, photometric="separated", iccprofile=profile, metadata=None)
    written, pyramid = convert(source)
    assert worst(written, through(cmyk_profile(), cmyk(), "cmyk")) <= 2
    assert (pyramid.bands, pyramid.warnings) == (3, ())


@pytest.mark.parametrize("tagged", [True, False])
def test_inverted_cmyk_jpeg_of_adobe(tagged: bool, tmp_path: Path) -> None:
    # Pillow writes CMYK as Adobe does: inverted, with Adobe's marker.
    source = tmp_path / "source.jpg"
    image = Image.frombytes("CMYK", (96, 64), cmyk().tobytes())
    image.save(source, quality=98, subsampling=0, icc_profile=cmyk_profile() if tagged else None)
    assert b"Adobe" in source.read_bytes()[:4000] or not tagged
    written, _ = convert(source)
    assert worst(written, through(cmyk_profile(), cmyk(), "cmyk")) <= 3


def test_ycck_jpeg(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    data = imagecodecs.jpeg8_encode(
        255 - cmyk(), level=98, colorspace="cmyk", outcolorspace="ycck", subsampling="444"
    )
    source.write_bytes(data)
    written, _ = convert(source)
    assert worst(written, through(cmyk_profile(), cmyk(), "cmyk")) <= 3


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_lab_tiff(photometric: str, depth: int, tmp_path: Path) -> None:
    lab = lab_of(rgb())
    full = 255 if depth == 8 else 65535 if photometric == "cielab" else 65280
    step = 1 if depth == 8 else 256
    offset = 0 if photometric == "cielab" else 128 * step
    stored = np.empty(lab.shape, np.int64)
    stored[:, :, 0] = np.rint(lab[:, :, 0] * full / 100)
    stored[:, :, 1:] = np.rint(lab[:, :, 1:] * step) + offset
    source = tmp_path / "source.tif"
    samples = (stored & (2**depth - 1)).astype(f"u{depth // 8}")
    tifffile.imwrite(source, samples, photometric=photometric, metadata=None)
    written, _ = convert(source)
    assert worst(written, rgb()) <= 2


def test_untagged_16_bit_rgb_is_srgb(tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, rgb().astype(np.uint16) * 257, photometric="rgb", metadata=None)
    written, _ = convert(source)
    assert np.array_equal(written, rgb())


def test_radiance_is_linear_light(tmp_path: Path) -> None:
    share = rgb().astype(float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)
    source = tmp_path / "source.hdr"
    source.write_bytes(imagecodecs.rgbe_encode(linear))
    written, _ = convert(source)
    assert np.abs(patches(written) - patches(rgb())).max() <= 2


def test_transparency_is_composited_on_the_colour_that_is_asked_for(tmp_path: Path) -> None:
    from marble_images.pyramid.model import ConvertOptions

    source, target = tmp_path / "source.png", tmp_path / "pyramid.tif"
    Image.fromarray(np.dstack([rgb(), np.zeros((64, 96), np.uint8)])).save(source)
    make_pyramid(source, target, ConvertOptions(background=(10, 200, 30)))
    assert np.array_equal(np.unique(tifffile.imread(target).reshape(-1, 3), axis=0), [[10, 200, 30]])
    Image.fromarray(np.dstack([grey(), np.zeros((64, 96), np.uint8)])).save(source)
    pyramid = make_pyramid(source, target, ConvertOptions(background=(10, 200, 30)))
    assert pyramid.bands == 3


def test_complex_samples_are_refused(tmp_path: Path) -> None:
    from marble_images.errors import UnsupportedFormat

    source = tmp_path / "source.tif"
    tifffile.imwrite(source, grey().astype(np.complex64), metadata=None)
    with pytest.raises(UnsupportedFormat, match="complex numbers"):
        make_pyramid(source, tmp_path / "pyramid.tif")


def test_floats_that_are_not_numbers_count_as_black(tmp_path: Path) -> None:
    samples = grey().astype(np.float32) / 255
    samples[:16, :16] = np.nan
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, samples, metadata=None)
    written, _ = convert(source)
    assert not written[:16, :16].any()
    assert np.array_equal(written[16:], grey()[16:])


def test_floats_of_another_range_are_scaled_with_a_warning(tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    tifffile.imwrite(source, grey().astype(np.float32) * 100 - 3000, metadata=None)
    written, pyramid = convert(source)
    assert np.array_equal(written, grey())
    assert pyramid.warnings == (
        "float32 samples were scaled from their minimum -3000 to their maximum 22500",
    )


def test_the_thumbnail_shows_the_picture(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    Image.fromarray(rgb()).save(source)
    _, pyramid = convert(source)
    with Image.open(io.BytesIO(pyramid.thumbnail)) as thumbnail:
        assert worst(np.asarray(thumbnail.convert("RGB")), rgb()) < 12

"""Which sample values become black and white, and that damage is refused by every decoder of a TIFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from marble_images.errors import ConversionOutOfMemory, CorruptImage, ImageError, TruncatedImage
from marble_images.formats import ImageFormat
from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.decode import decoding_error
from marble_images_tests.pyramid.images import Array, bilevel, grey

_GDAL_NODATA = 42113


def converted(samples: Array, tmp_path: Path, nodata: str | None = None) -> tuple[Array, tuple[str, ...]]:
    source, target = tmp_path / "source.tif", tmp_path / "pyramid.tif"
    tags = [] if nodata is None else [(_GDAL_NODATA, "s", 0, nodata, True)]
    tifffile.imwrite(source, samples, photometric="minisblack", extratags=tags)
    pyramid = make_pyramid(source, target)
    return tifffile.imread(target, key=0), pyramid.warnings


def stretched(samples: Array) -> Array:
    """The truth of scaling from minimum to maximum."""
    low, high = float(samples.min()), float(samples.max())
    return np.rint((samples.astype(float) - low) / (high - low) * 255)


@pytest.mark.parametrize(
    ("kind", "scale", "shift"),
    [
        *(("int16", 10, 0), ("int16", 100, -12000), ("int32", 40, 0), ("uint32", 40, 0)),
        *(("float32", 0.0005, 0), ("float32", 0.025, -3.14), ("float64", 0.01, 0), ("float16", 100, 0)),
    ],
)
def test_what_uses_no_known_range_is_scaled_from_minimum_to_maximum(
    kind: str, scale: float, shift: float, tmp_path: Path
) -> None:
    samples = (grey().astype(float) * scale + shift).astype(kind)
    written, warnings = converted(samples, tmp_path)
    assert np.abs(written - stretched(samples)).max() <= 1
    assert len(warnings) == 1
    assert "scaled from their minimum" in warnings[0]


@pytest.mark.parametrize(
    ("kind", "scale"),
    [("int16", 1), ("int32", 1), ("int32", 257), ("uint32", 257), ("uint32", 16843009), ("float32", 1 / 255)],
)
def test_what_uses_a_known_range_is_taken_as_it_is(kind: str, scale: float, tmp_path: Path) -> None:
    light = np.maximum(grey(), 20)
    written, _ = converted((light.astype(float) * scale).astype(kind), tmp_path)
    assert np.abs(written.astype(int) - light).max() <= 1


@pytest.mark.parametrize(
    ("kind", "nothing", "tag"),
    [
        ("int16", -32768, "-32768"),
        ("float32", -9999.0, "-9999"),
        ("float32", -3.4028235e38, None),
        ("float64", np.nan, "nan"),
    ],
)
def test_what_was_not_measured_does_not_count_for_the_range(
    kind: str, nothing: float, tag: str | None, tmp_path: Path
) -> None:
    heights = (grey().astype(float) * 20 + 300).astype(kind)
    samples = heights.copy()
    samples[:16, :32] = nothing
    written, _ = converted(samples, tmp_path, tag)
    assert np.all(written[:16, :32] == 0)
    assert np.abs(written[16:] - stretched(heights)[16:]).max() <= 1


def test_a_fax_with_damaged_codes_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    noise = np.random.default_rng(3).random((400, 300)) > 0.7
    Image.fromarray(noise).save(source, compression="group4")
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    source.write_bytes(data)
    with pytest.raises((CorruptImage, TruncatedImage)):
        make_pyramid(source, tmp_path / "pyramid.tif")


@pytest.mark.parametrize("mode", ["group3", "group4"])
def test_a_sound_fax_is_read(mode: str, tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    Image.fromarray(bilevel()).save(source, compression=mode)
    make_pyramid(source, tmp_path / "pyramid.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "pyramid.tif", key=0), np.where(bilevel(), 255, 0))


@pytest.mark.parametrize("bits", [10, 12])
def test_grey_heic_of_more_than_8_bits_is_read(bits: int, tmp_path: Path) -> None:
    source = tmp_path / "source.heic"
    heif = pillow_heif.HeifFile()
    heif.add_frombytes("I;16", (96, 64), (grey().astype(np.uint16) * 257).tobytes())
    heif.save(source, quality=-1, save_to_12bit=bits == 12, matrix_coefficients=0, chroma=444)
    make_pyramid(source, tmp_path / "pyramid.tif")
    written = tifffile.imread(tmp_path / "pyramid.tif", key=0)
    assert written.ndim == 2
    assert np.abs(written.astype(int) - grey()).max() <= 4


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("VipsJpeg: Insufficient memory (case 4)", ConversionOutOfMemory),
        ("Not enough data for scanline 0", TruncatedImage),
        ("Bad code word at line 3", CorruptImage),
    ],
)
def test_what_a_decoder_says_tells_kinds_of_failure_apart(said: str, error: type[ImageError]) -> None:
    found = decoding_error(ImageFormat.JPEG, ValueError(said))
    assert type(found) is error
    assert said not in found.reason

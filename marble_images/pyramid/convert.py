"""From an image file to a valid pyramid TIFF, in this process."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marble_images import __version__
from marble_images.checksums import sha256_of
from marble_images.errors import (
    ConversionOutOfMemory,
    ImageError,
    InvalidPyramid,
    NoDiskSpace,
    UnsupportedFormat,
)
from marble_images.formats import ImageFormat, identify_file
from marble_images.pyramid.color import to_srgb
from marble_images.pyramid.decode import Picture, check_size, decoding_error, no_room
from marble_images.pyramid.geometry import fit
from marble_images.pyramid.model import Box, ConvertOptions, Pyramid
from marble_images.pyramid.profiles import Profile, get_profile
from marble_images.pyramid.readers import READERS, Reader
from marble_images.pyramid.validate import validate_pyramid
from marble_images.pyramid.vips import VipsImage, pyvips, take_complaints, version
from marble_images.pyramid.write import write_pyramid

REFERENCE_SIDE = 256
"""Longer side, in pixels, of the small picture that the written pyramid is compared with."""

_THUMBNAIL_QUALITY = 75
# Above this a fitted picture is kept in a temporary file instead of memory.
_MEMORY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Prepared:
    """A source as it goes into the pyramid: upright, fitted, 8-bit sRGB or grey, all pixels decoded."""

    image: VipsImage
    source: Picture
    warnings: tuple[str, ...]

    def reference(self) -> npt.NDArray[np.uint8]:
        """The picture shrunk to 256 pixels, (height, width) or (height, width, 3), apart from the writer."""
        width, height = fit(self.image.width, self.image.height, Box(REFERENCE_SIDE, REFERENCE_SIDE))
        small = _resize(self.image, width, height)
        samples = np.frombuffer(small.write_to_memory(), dtype=np.uint8)
        return samples.reshape((height, width) if small.bands == 1 else (height, width, small.bands))


def make_pyramid(source: Path, target: Path, options: ConvertOptions | None = None) -> Pyramid:
    """Make a pyramid TIFF of an image file, check it, and move it to its place.

    A reader never sees half a file at ``target``, and a failure leaves nothing behind.

    Parameters
    ----------
    source
        The image; its name means nothing.
    target
        Where the pyramid goes; replaced if it exists. Its folder must exist.

    Raises
    ------
    ImageError
        The source cannot become a valid pyramid; its subclass and its one-line reason say why.
    SettingsError
        The profile does not exist or cannot be written by this libvips.
    NoDiskSpace
        There is no room for temporary files or for the pyramid.
    """
    options = options or ConvertOptions()
    profile = get_profile(options.profile)
    started = time.perf_counter()
    prepared = prepare(source, options)
    reference = prepared.reference()
    checksum = options.source_sha256 or sha256_of(source)
    part = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.part")
    try:
        levels, tile = _write(prepared, part, profile, checksum)
        converted = time.perf_counter()
        _validate(part, options, profile, reference)
        validated = time.perf_counter()
        pyramid = Pyramid(
            width=prepared.image.width,
            height=prepared.image.height,
            levels=levels,
            tile_size=tile,
            bytes=part.stat().st_size,
            sha256=sha256_of(part),
            profile=profile.name,
            bands=prepared.image.bands if profile.grey else 3,
            source_format=str(prepared.source.format),
            source_width=prepared.source.width,
            source_height=prepared.source.height,
            source_pages=prepared.source.pages,
            warnings=prepared.warnings,
            seconds={"convert": converted - started, "validate": validated - converted},
            thumbnail=_jpeg(reference),
        )
        if options.durable:
            _settle(part)
        part.replace(target)
        if options.durable:
            # Not every file system can do this to a folder.
            with contextlib.suppress(OSError):
                _settle(target.parent)
        return pyramid
    finally:
        part.unlink(missing_ok=True)


def prepare(source: Path, options: ConvertOptions) -> Prepared:
    """Decode a file completely into the picture that its pyramid shows.

    Raises
    ------
    ImageError
        As `make_pyramid`.
    """
    image_format = identify_file(source)
    refusal: ImageError | None = None
    for reader in READERS.get(image_format, ()):
        attempt = _attempt(reader, source, image_format, options, refusal)
        if isinstance(attempt, Prepared):
            return attempt
        # "Not of a kind that I read" says less than what another reader found.
        if refusal is None or isinstance(refusal, UnsupportedFormat):
            refusal = attempt
    raise refusal or UnsupportedFormat(f"{image_format} images are not read")


def _attempt(
    reader: Reader,
    source: Path,
    image_format: ImageFormat,
    options: ConvertOptions,
    refusal: ImageError | None,
) -> Prepared | ImageError:
    """What one reader makes of a source, or why it refuses it."""
    try:
        return _render(reader(source, image_format, options, refusal), options)
    except ImageError as problem:
        return problem
    except pyvips.Error as problem:
        return decoding_error(image_format, problem)
    except MemoryError:
        return ConversionOutOfMemory(f"decoding the {image_format} file needs more memory than there is")


def _render(picture: Picture, options: ConvertOptions) -> Prepared:
    check_size(picture.width, picture.height, options)
    colour, warnings = to_srgb(picture, options.background)
    turned = picture.orientation >= 5
    across, down = (picture.height, picture.width) if turned else (picture.width, picture.height)
    width, height = fit(across, down, options.box)
    stored = (height, width) if turned else (width, height)
    take_complaints()
    fitted, complaints = _in_memory(_resize(colour, *stored))
    if picture.complaints is not None and picture.complaints.search(complaints):
        raise decoding_error(picture.format, complaints)
    # Turned last: the source is read from top to bottom only, and the fitted picture is small.
    upright = _turn(fitted, picture.orientation)
    return Prepared(upright, replace(picture, image=upright), (*picture.warnings, *warnings))


def _resize(image: VipsImage, width: int, height: int) -> VipsImage:
    if (image.width, image.height) == (width, height):
        return image
    return image.resize(width / image.width, vscale=height / image.height, kernel="lanczos3")


def _in_memory(image: VipsImage) -> tuple[VipsImage, str]:
    """The image decoded and without metadata, and what libvips complained of on the way.

    A large one lies in a temporary file.
    """
    size = image.width * image.height * image.bands
    if size <= _MEMORY_BYTES:
        samples = image.write_to_memory()
    else:
        with tempfile.TemporaryFile(prefix="marble-images-") as file:
            image.rawsave_target(pyvips.Target.new_to_descriptor(file.fileno()))
            # The map keeps the file alive after it is closed.
            samples = np.memmap(file, np.uint8, "r", shape=(size,)).data
    complaints = take_complaints()
    bare = pyvips.Image.new_from_memory(samples, image.width, image.height, image.bands, "uchar")
    return bare.copy(interpretation="b-w" if image.bands == 1 else "srgb"), complaints


def _turn(image: VipsImage, orientation: int) -> VipsImage:
    turns = {
        2: lambda i: i.fliphor(),
        3: lambda i: i.rot180(),
        4: lambda i: i.flipver(),
        5: lambda i: i.rot90().fliphor(),
        6: lambda i: i.rot90(),
        7: lambda i: i.rot270().fliphor(),
        8: lambda i: i.rot270(),
    }
    turn = turns.get(orientation)
    return image if turn is None else _in_memory(turn(image))[0]


def _write(prepared: Prepared, path: Path, profile: Profile, checksum: str) -> tuple[int, int]:
    software = f"marble-images {__version__}, libvips {'.'.join(map(str, version()))}"
    description = f"{software}, profile {profile.name}, source sha256:{checksum}"
    try:
        return write_pyramid(prepared.image, path, profile, description=description)
    except (pyvips.Error, OSError) as problem:
        if no_room(problem):
            raise NoDiskSpace("no room for the pyramid", detail=str(problem)) from problem
        raise InvalidPyramid("the pyramid could not be written", detail=str(problem)) from problem


def _validate(
    path: Path, options: ConvertOptions, profile: Profile, reference: npt.NDArray[np.uint8]
) -> None:
    problems = validate_pyramid(path, box=options.box, profile=profile.name, reference=reference)
    errors = [problem.message for problem in problems if problem.kind == "error"]
    if errors:
        raise InvalidPyramid(f"the pyramid is not valid: {errors[0]}", detail="; ".join(errors))


def _jpeg(reference: npt.NDArray[np.uint8]) -> bytes:
    bands = 1 if reference.ndim == 2 else reference.shape[2]
    height, width = reference.shape[:2]
    image = pyvips.Image.new_from_memory(reference.tobytes(), width, height, bands, "uchar")
    tagged = image.copy(interpretation="b-w" if bands == 1 else "srgb")
    return bytes(tagged.jpegsave_buffer(Q=_THUMBNAIL_QUALITY))


def _settle(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

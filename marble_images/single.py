"""One image on disk to one pyramid on disk, in a process of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from marble_images.errors import NotAnImage
from marble_images.pyramid.model import ConvertOptions, Pyramid
from marble_images.pyramid.pool import PyramidPool
from marble_images.pyramid.profiles import get_profile
from marble_images.settings import Settings


def make_one_pyramid(source: Path, target: Path, options: ConvertOptions) -> Pyramid:
    """Make a pyramid as the pipeline does, isolated and with its limits.

    Raises
    ------
    ImageError
        The source cannot become a correct pyramid.
    SettingsError
        There is no such profile.
    OSError
        The source cannot be read or the target cannot be written; ``filename`` says which.
    """
    get_profile(options.profile)
    if source.is_dir():
        raise NotAnImage("a folder, not an image")
    with source.open("rb"):
        pass
    if target.is_dir() or not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
        raise FileNotFoundError(2, "cannot be written", str(target))
    settings = Settings.load()
    with (
        tempfile.TemporaryDirectory(prefix="marble-images-", dir=settings.work_folder) as folder,
        PyramidPool(
            processes=1,
            deadline=settings.conversion_deadline,
            memory_limit=settings.memory_of_one(1),
            work_folder=Path(folder),
        ) as pool,
    ):
        return pool.convert(source.resolve(), target.resolve(), options)

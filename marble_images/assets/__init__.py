"""The two assets: each day's changed files, and the pyramid TIFF of each file."""

import warnings

import dagster as dg

# Backfill policies and partitioned checks are not final; the pinned version of Dagster is the answer to
# that, not three lines in each log.
for category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=category)

from marble_images.assets.changed_files import changed_files  # noqa: E402
from marble_images.assets.day_results import day_results, every_file_was_made  # noqa: E402
from marble_images.assets.pyramid_tiffs import make_pyramids  # noqa: E402
from marble_images.assets.queue_checks import check_queue  # noqa: E402

__all__ = ["changed_files", "check_queue", "day_results", "every_file_was_made", "make_pyramids"]

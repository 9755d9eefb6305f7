"""Takes the pictures of ``docs/operating.md`` from the real UI: ``make screenshots``."""

from __future__ import annotations

import io
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from marble_images.days import day_of
from marble_images_tests.ui.dev_server import dev_server, marble_images, until
from marble_images_tests.ui.pages import AssetPage, browser_page

_COLOURS = 64
FAILED = "Relief/sea-floor/etopo1-003.jpg"
MADE = "BlueMarble/world/bmng-001.jpg"


def _take(page: Page, folder: Path, name: str) -> None:
    page.wait_for_timeout(1500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # A palette of few colours keeps the repository small, and a UI has no more.
    picture.quantize(_COLOURS).save(folder / f"{name}.png", optimize=True)


def take_all(folder: Path) -> None:
    """Run the demo and `marble-images dev`, and take every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="marble-screenshots-") as name:
        demo = marble_images("demo", "--folder", name)
        demo.communicate(timeout=600)
        with dev_server(Path(name)) as ui, browser_page() as page:
            day = day_of(datetime.now(timezone.utc))
            until(lambda: "MATERIALIZED" in ui.days("day_results").values(), "result of the day")
            page.goto(f"{ui.url}/asset-groups")
            page.get_by_text("pyramid_tiffs").first.wait_for()
            page.wait_for_timeout(3000)
            _take(page, folder, "lineage")
            AssetPage(page, ui.url, "day_results").open(day)
            page.get_by_text("reconciliation").wait_for()
            _take(page, folder, "day-result")
            AssetPage(page, ui.url, "changed_files").open(day)
            page.get_by_text("waiting from before").wait_for()
            _take(page, folder, "changed-files")
            pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
            pyramids.open(FAILED)
            _take(page, folder, "failed-partition")
            pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
            pyramids.open(MADE)
            pyramids.show_preview().wait_for()
            _take(page, folder, "preview")
            pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
            pyramids.open(MADE)
            dialog = pyramids.choose()
            pyramids.tick(dialog, FAILED)
            _take(page, folder, "rematerialize")
            lists = AssetPage(page, ui.url, "changed_files")
            dialog = lists.choose()
            lists.type_days(dialog, day[:8] + "01", day)
            _take(page, folder, "backfill")
            run = next(run for run in ui.runs(statuses=["FAILURE"]))
            page.goto(f"{ui.url}/runs/{run['runId']}")
            page.get_by_text("files failed").first.wait_for()
            _take(page, folder, "failed-run")
            page.goto(f"{ui.url}/automation")
            page.get_by_text("daily_changed_files").first.wait_for()
            _take(page, folder, "automation")


if __name__ == "__main__":
    take_all(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))

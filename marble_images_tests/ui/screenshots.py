"""Takes the pictures of ``docs/operating.md`` from the real UI: ``make screenshots``."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page, expect

from marble_images.days import day_of
from marble_images_tests.ui.dev_server import DEMO_FAILED, DevServer, dev_server, marble_images, until
from marble_images_tests.ui.pages import AssetPage, again_until, browser_page, seen

_COLOURS = 256
_WIDTH, _HEIGHT = 1100, 1180
_TOP_OF_TRACE = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (texts.nextNode()) {
    const at = texts.currentNode.data.indexOf("Stack Trace");
    if (at < 0) continue;
    range.setStart(texts.currentNode, at);
    range.setEnd(texts.currentNode, at + 11);
    return range.getBoundingClientRect().top;
  }
}"""
ASSETS = ("changed_files", "pyramid_tiffs", "day_results")
MADE = "BlueMarble/world/bmng-001.jpg"


@dataclass(frozen=True)
class Camera:
    """Takes pictures of a page into a folder."""

    page: Page
    folder: Path

    def take(self, name: str, part: FloatRect) -> None:
        """Take a part of what the window shows, once nothing in it loads or moves any more."""
        self.page.mouse.move(1, 1)
        before = b""
        while (now := self.page.screenshot(animations="disabled", clip=part)) != before:
            before = now
            self.page.wait_for_timeout(700)
        picture = Image.open(io.BytesIO(now)).convert("RGB")
        # A palette keeps the repository small, and a UI has few colours.
        small = picture.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        small.save(self.folder / f"{name}.png", optimize=True)

    def around(self, *things: Locator, margin: float = 16) -> FloatRect:
        """The part of the window that things take, with a margin."""
        boxes = [box for thing in things if (box := thing.bounding_box()) is not None]
        assert len(boxes) == len(things), "all of it is shown"
        left, top = (max(0.0, min(box[side] for box in boxes) - margin) for side in ("x", "y"))
        right = min(max(box["x"] + box["width"] for box in boxes) + margin, _WIDTH)
        bottom = min(max(box["y"] + box["height"] for box in boxes) + margin, _HEIGHT)
        return {"x": left, "y": top, "width": right - left, "height": bottom - top}

    def dialog(self) -> FloatRect:
        """The part of the window that the dialog takes."""
        return self.around(self.page.locator(".bp5-dialog, .bp4-dialog, [role=dialog]").last, margin=0)

    def whole(self, height: float = _HEIGHT) -> FloatRect:
        """The window down to a height."""
        return {"x": 0, "y": 0, "width": _WIDTH, "height": height}


class Pictures:
    """How the page comes to show what each picture is of, and which part of it is the picture."""

    def __init__(self, ui: DevServer, camera: Camera) -> None:
        self.ui, self.camera, self.page = ui, camera, camera.page
        self.day = day_of(datetime.now(timezone.utc))
        self.days, self.lists, self.pyramids = (
            AssetPage(camera.page, ui.url, asset)
            for asset in ("day_results", "changed_files", "pyramid_tiffs")
        )

    def all(self) -> dict[str, Callable[[], FloatRect]]:
        """All of them, by name."""
        made = (
            self.asset_graph,
            self.day_result,
            self.changed_files,
            self.failed_partition,
            self.failed_run,
            self.preview,
            self.rematerialize,
            self.backfill,
            self.automation,
        )
        return {show.__name__.replace("_", "-"): show for show in made}

    def asset_graph(self) -> FloatRect:
        """The three assets."""
        self.page.goto(f"{self.ui.url}/asset-groups")
        nodes = [self.page.locator("foreignObject").filter(has_text=name) for name in ASSETS]
        for node in nodes:
            expect(node.last).to_be_visible()
        # The graph slides to its place.
        self.page.wait_for_timeout(3000)
        return self.camera.around(*(node.last for node in nodes), margin=24)

    def day_result(self) -> FloatRect:
        """How a day ended."""
        self.days.open(self.day, "reconciliation")
        return self.camera.whole()

    def changed_files(self) -> FloatRect:
        """A day's list."""
        self.lists.open(self.day, "waiting from before")
        return self.camera.whole(1000)

    def failed_partition(self) -> FloatRect:
        """Why a file failed."""
        self.pyramids.pick(DEMO_FAILED)
        self.page.get_by_text("View all historical events").click()
        self.page.get_by_role("dialog").get_by_role("button", name="arrow_drop_down").first.click()
        seen(self.page, "the JPEG file is truncated")
        return self.camera.dialog()

    def failed_run(self) -> FloatRect:
        """What a failed run says."""
        run = next(run for run in self.ui.runs(statuses=["FAILURE"]))
        self.page.goto(f"{self.ui.url}/runs/{run['runId']}?logs=type%3ARUN_FAILURE")
        seen(self.page, "files failed")
        # The stack trace below it has the paths of this machine.
        return self.camera.whole(self.page.evaluate(_TOP_OF_TRACE) - 4)

    def preview(self) -> FloatRect:
        """What a pyramid looks like."""
        self.pyramids.pick(MADE)
        expect(self.pyramids.show_preview()).to_be_visible()
        return self.camera.whole(800)

    def rematerialize(self) -> FloatRect:
        """Two files to be made again."""
        self.pyramids.pick(MADE)
        dialog = self.pyramids.choose()
        self.pyramids.tick(dialog, DEMO_FAILED)
        self.page.get_by_text("Partition selection").click()
        seen(self.page, "2 partitions")
        return self.camera.dialog()

    def backfill(self) -> FloatRect:
        """A range of days."""
        self.lists.load()
        dialog = self.lists.choose()
        dialog.get_by_text("Show all partitions").click()
        self.lists.type_days(dialog, *march(datetime.now(timezone.utc)))
        seen(self.page, "31 partitions")
        return self.camera.dialog()

    def automation(self) -> FloatRect:
        """What starts by itself."""
        self.page.goto(f"{self.ui.url}/automation")
        for name in ("daily_changed_files", "pyramids_of_changed_files", "results_of_days", "alerts"):
            seen(self.page, name)
        return self.camera.whole(500)


def march(now: datetime) -> tuple[str, str]:
    """The first and the last day of the last March that is over."""
    year = now.year if now.month > 3 else now.year - 1
    return f"{year}-03-01", f"{year}-03-31"


def take_all(ui: DevServer, folder: Path, only: Sequence[str] = ()) -> None:
    """Take every picture, or only some, of a UI that the demo's day is done in."""
    folder.mkdir(parents=True, exist_ok=True)
    until(lambda: "MATERIALIZED" in ui.days("day_results").values(), "result of the day")
    with browser_page(width=_WIDTH, height=_HEIGHT, sharpness=2) as page:
        page.goto(ui.url)
        page.get_by_text("Hide navigation").click()
        camera = Camera(page, folder)
        for name, show in Pictures(ui, camera).all().items():
            if not only or name in only:
                camera.take(name, again_until(show))


def main(folder: Path) -> None:
    """Run the demo and `marble-images dev`, and take every picture."""
    with tempfile.TemporaryDirectory(prefix="marble-screenshots-") as name:
        demo = marble_images("demo", "--folder", name)
        said, _ = demo.communicate(timeout=600)
        if demo.returncode:
            sys.exit(said.decode())
        with dev_server(Path(name)) as ui:
            take_all(ui, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))

"""What people do in the UI, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from marble_images.partitions import partition_key
from marble_images_tests.ui.dev_server import DEMO_FAILED, DevServer
from marble_images_tests.ui.pages import FAILED, MATERIALIZED, AssetPage, again_until, browser_page, seen
from marble_images_tests.ui.workload import (
    NAMELESS,
    STRANGE,
    modified,
    put_days,
    wait_for,
    wait_for_history,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's package chromium"),
]


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page() as made:
        yield made


def test_two_chosen_partitions_are_made_again_and_seen_to_be_done(ui: DevServer, page: Page) -> None:
    keys = ["1934.007.001/1934_007_001-v0002.jpg", "Relief/sea-floor/etopo1-002.tif"]
    objects = [key.rpartition(".")[0] + ".tif" for key in keys]
    before = [modified(ui, name) for name in objects]
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")

    def chosen() -> Locator:
        pyramids.pick(keys[0])
        seen(page, "View all historical events (1)")
        dialog = pyramids.choose()
        pyramids.tick(dialog, keys[1])
        expect(dialog.get_by_text("2 partitions", exact=True)).to_be_visible()
        return dialog

    pyramids.launch(again_until(chosen))
    for key in keys:
        wait_for_history(ui, key, 2)
    wait_for(ui, "materialized", keys)
    assert all(modified(ui, name) != old for name, old in zip(objects, before, strict=True))
    for key in keys:
        pyramids.open(key, "View all historical events (2)", MATERIALIZED)


def test_the_thumbnail_is_seen_on_the_partitions_page(ui: DevServer, page: Page) -> None:
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")

    def preview() -> list[int]:
        pyramids.pick("BlueMarble/world/bmng-001.jpg")
        picture = pyramids.show_preview()
        expect(picture).to_be_visible()
        return list(picture.evaluate("image => [image.naturalWidth, image.naturalHeight]"))

    assert again_until(preview) == [256, 128]


def test_the_reason_of_a_failed_partition_is_read_there_and_in_its_run(ui: DevServer, page: Page) -> None:
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")

    def reason_there() -> None:
        pyramids.pick(DEMO_FAILED)
        seen(page, FAILED)
        page.get_by_text("View all historical events").click()
        page.get_by_role("dialog").get_by_role("button", name="arrow_drop_down").first.click()
        seen(page, "the JPEG file is truncated")

    def reason_in_its_run() -> None:
        pyramids.open(DEMO_FAILED)
        page.get_by_role("link", name="View logs").or_(page.get_by_role("button", name="View logs")).click()
        seen(page, f"files failed: {DEMO_FAILED}: the JPEG file is truncated")

    again_until(reason_there)
    again_until(reason_in_its_run)


def test_a_backfill_over_days_is_launched_and_its_pyramids_follow(ui: DevServer, page: Page) -> None:
    days, paths = (made := put_days(ui, "browser", ago=40)).days, made.paths
    lists = AssetPage(page, ui.url, "changed_files")

    def chosen() -> Locator:
        lists.load()
        dialog = lists.choose()
        lists.type_days(dialog, days[0], days[-1])
        expect(dialog.get_by_text("3 partitions", exact=True)).to_be_visible()
        return dialog

    lists.launch(again_until(chosen))
    wait_for(ui, "materialized", paths)
    for day in days:
        lists.open(day, MATERIALIZED, "waiting from before")
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
    for path in paths:
        pyramids.open(path, MATERIALIZED, "outcome")


def test_files_with_strange_ids_are_found_and_made_again_there(ui: DevServer, page: Page) -> None:
    strange, nameless = STRANGE["all"], NAMELESS["line breaks"]
    wait_for(ui, "materialized", [strange])
    wait_for(ui, "failed", [nameless])
    before = {path: len(wait_for_history(ui, path, 1)) for path in (strange, nameless)}
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
    for path in before:
        launch_alone(pyramids, partition_key(path))
    for path, shown in ((strange, MATERIALIZED), (nameless, FAILED)):
        events = wait_for_history(ui, path, before[path] + 1)
        assert {event["file"] for event in events} == {path}
        pyramids.open(partition_key(path), f"View all historical events ({len(events)})", shown)


def launch_alone(pyramids: AssetPage, key: str) -> None:
    """Find one partition, and have it made again."""

    def chosen() -> Locator:
        pyramids.pick(key)
        return pyramids.choose("1 partition")

    pyramids.launch(again_until(chosen))

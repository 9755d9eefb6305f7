"""What people do in the UI, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from marble_images.days import ZONE, day_of
from marble_images_tests.ui.dev_server import DevServer, until
from marble_images_tests.ui.pages import PATIENCE, AssetPage, browser_page
from marble_images_tests.ui.test_graphql import DEMO_FAILED, jpeg, modified, put, wait_for

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
    pyramids.open(keys[0])
    expect(page.get_by_text("View all historical events (1)")).to_be_visible()
    dialog = pyramids.choose()
    pyramids.tick(dialog, keys[1])
    expect(dialog.get_by_text("2 partitions", exact=True)).to_be_visible()
    pyramids.launch(dialog)
    until(
        lambda: all(modified(ui, name) != old for name, old in zip(objects, before, strict=True)),
        "new pyramids of both",
    )
    for key in keys:
        page.get_by_role("button", name="refresh").click()
        pyramids.open(key)
        expect(page.get_by_text("View all historical events (2)")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()


def test_the_thumbnail_is_seen_on_the_partitions_page(ui: DevServer, page: Page) -> None:
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
    pyramids.open("BlueMarble/world/bmng-001.jpg")
    picture = pyramids.show_preview()
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [256, 128]


def test_the_reason_of_a_failed_partition_is_read_there_and_in_its_run(ui: DevServer, page: Page) -> None:
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
    pyramids.open(DEMO_FAILED)
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    page.get_by_text("View all historical events").click()
    page.get_by_role("dialog").get_by_role("button", name="arrow_drop_down").first.click()
    expect(page.get_by_text("the JPEG file is truncated").first).to_be_visible()
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
    pyramids.open(DEMO_FAILED)
    page.get_by_role("link", name="View logs").or_(page.get_by_role("button", name="View logs")).click()
    reason = f"files failed: {DEMO_FAILED}: the JPEG file is truncated"
    expect(page.get_by_text(reason).first).to_be_visible(timeout=PATIENCE)


def test_a_backfill_over_days_is_launched_and_its_pyramids_follow(ui: DevServer, page: Page) -> None:
    start = datetime.now(ZONE) - timedelta(days=40)
    days = [day_of(start + timedelta(days=n)) for n in range(3)]
    paths = [f"browser/{n}.jpg" for n in range(3)]
    for n, path in enumerate(paths):
        put(ui, path, jpeg(n), start + timedelta(days=n))
    lists = AssetPage(page, ui.url, "changed_files")
    dialog = lists.choose()
    lists.type_days(dialog, days[0], days[-1])
    expect(dialog.get_by_text("3 partitions", exact=True)).to_be_visible()
    lists.launch(dialog)
    wait_for(ui, "materialized", paths)
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
    for path in paths:
        pyramids.open(path)
        expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()


def test_a_strange_id_is_shown_under_its_key_and_its_name(ui: DevServer, page: Page) -> None:
    pyramids = AssetPage(page, ui.url, "pyramid_tiffs")
    pyramids.open("BlueMarble/Africa%20and%20Europe/Africa%20001.tif")
    expect(page.get_by_text("BlueMarble/Africa and Europe/Africa 001.tif").first).to_be_visible()

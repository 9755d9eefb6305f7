"""The UI as a person uses it: Debian's Chromium, driven by mouse and keyboard."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote

from playwright.sync_api import Error, Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 1000.0
_LOOK = 30 * SECONDS
_PATIENCE = 240.0
MATERIALIZED = re.compile("^Materialized$")
FAILED = "failed, and did not materialize this asset"
Shown = TypeVar("Shown")


@contextmanager
def browser_page(width: int = 1280, height: int = 800, sharpness: float = 1) -> Iterator[Page]:
    """A page of a fresh browser, with so many of the screen's pixels to one of the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        page = browser.new_page(
            viewport={"width": width, "height": height},
            device_scale_factor=sharpness,
            timezone_id="America/New_York",
        )
        page.set_default_timeout(_LOOK)
        expect.set_options(timeout=_LOOK)
        try:
            yield page
        finally:
            browser.close()


def again_until(act: Callable[[], Shown], patience: float = _PATIENCE) -> Shown:
    """Do something from its beginning until it goes through, as a person reloads a page that is behind."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return act()
        except (AssertionError, Error):
            if time.monotonic() > deadline:
                raise


def seen(page: Page, text: str | re.Pattern[str]) -> None:
    """Expect a text to be visible somewhere: a part of one, or as the pattern says."""
    expect(page.get_by_text(text).locator("visible=true").first).to_be_visible()


class AssetPage:
    """One asset's page, at its partitions."""

    def __init__(self, page: Page, url: str, asset: str) -> None:
        self.page = page
        self._url = f"{url}/assets/{asset}?view=partitions"

    def load(self) -> None:
        """Load the page anew, with no partition chosen."""

        def load() -> None:
            self.page.goto(self._url)
            expect(self.page.get_by_text("Partitions Selected")).to_be_visible()

        again_until(load)

    def open(self, key: str, *texts: str | re.Pattern[str]) -> None:
        """Load a partition's page, again until it shows all of the texts."""

        def load() -> None:
            self.page.goto(f"{self._url}&partition={quote(key, safe='')}")
            self._is_shown(key)
            for text in texts:
                seen(self.page, text)

        again_until(load)

    def pick(self, key: str) -> None:
        """Find a partition by its name in the list, and click on it."""

        def click() -> None:
            self.page.goto(self._url)
            self.page.get_by_placeholder("Filter by name").fill(key)
            # A second click would take the choice back, so there is none on this page.
            self.page.get_by_title(key, exact=True).first.click()
            self._is_shown(key)

        again_until(click)

    def _is_shown(self, key: str) -> None:
        expect(self.page.get_by_text(key, exact=True).locator("visible=true").first).to_be_visible()
        expect(self.page.get_by_text("No partition selected")).to_be_hidden()
        seen(self.page, re.compile(r"View all historical events \([1-9]"))

    def show_preview(self) -> Locator:
        """Click on the preview; the picture."""
        self.page.get_by_text("[Show Markdown]").first.click()
        return self.page.locator("img[alt=preview]")

    def choose(self, *chosen: str) -> Locator:
        """Press "Materialize"; the dialog, once it shows all of the texts."""
        self.page.get_by_role("button", name="Materialize").first.click()
        dialog = self.page.get_by_role("dialog").filter(has_text="Partition selection").last
        for text in chosen:
            expect(dialog.get_by_text(text, exact=True).first).to_be_visible()
        return dialog

    def tick(self, dialog: Locator, key: str) -> None:
        """Tick one more partition in the dialog's menu."""
        dialog.get_by_label("expand_more").last.click()
        menu = self.page.get_by_role("menu").first
        menu.get_by_placeholder("Filter partitions").fill(key)
        menu.get_by_role("menuitem").filter(has_text=key).get_by_text(key, exact=True).first.click()
        self.page.get_by_text("Partition selection").click()
        expect(menu).to_be_hidden()

    def type_days(self, dialog: Locator, first: str, last: str) -> None:
        """Type a range of days into the dialog."""
        box = dialog.locator("input[type=text]").first
        box.fill(f"[{first}...{last}]")
        box.press("Enter")

    def launch(self, dialog: Locator) -> None:
        """Press the dialog's button."""
        dialog.get_by_role("button", name="Launch").last.click()
        expect(dialog).to_be_hidden(timeout=4 * _LOOK)

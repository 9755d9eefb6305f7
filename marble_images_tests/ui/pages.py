"""The UI as a person uses it: Debian's Chromium, driven by mouse and keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, expect, sync_playwright

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
PATIENCE = 180 * SECONDS


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a fresh browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        page = browser.new_page(viewport={"width": 1280, "height": 800}, timezone_id="America/New_York")
        page.set_default_timeout(60 * SECONDS)
        yield page
        browser.close()


class AssetPage:
    """One asset's page, at its partitions."""

    def __init__(self, page: Page, url: str, asset: str) -> None:
        self.page = page
        page.goto(f"{url}/assets/{asset}?view=partitions")
        page.get_by_role("button", name="Materialize").first.wait_for()

    def open(self, key: str) -> None:
        """Find a partition by its name and click on it."""
        self.page.get_by_placeholder("Filter by name").fill(key)
        self.page.get_by_title(key, exact=True).first.click()

    def heading(self, key: str) -> Locator:
        """The name over the partition's details."""
        return self.page.get_by_text(key, exact=True).locator("visible=true").first

    def show_preview(self) -> Locator:
        """Click on the preview; the picture."""
        self.page.get_by_text("[Show Markdown]").first.click()
        return self.page.locator("img[alt=preview]")

    def choose(self) -> Locator:
        """Press "Materialize"; the dialog."""
        self.page.get_by_role("button", name="Materialize").first.click()
        dialog = self.page.get_by_role("dialog").filter(has_text="Partition selection").last
        dialog.wait_for()
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
        expect(dialog).to_be_hidden(timeout=60 * SECONDS)

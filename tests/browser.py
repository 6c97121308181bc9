"""A browser for tests of pages: Chromium as the system has it, and a record of what pages complain of and ask for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Watched:
    """A browser whose pages are watched: open them with ``new_page``, then look at what has gathered here."""

    browser: "Browser"
    console_errors: list[str] = field(default_factory=list)
    page_errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def new_page(self, **options: Any) -> "Page":
        """A page in a context of its own; options as of playwright's ``Browser.new_page`` (viewport, color_scheme)."""
        page = self.browser.new_page(**options)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        page.on("request", self._request)
        return page

    def forget(self) -> None:
        """Start the records anew."""
        for record in (self.console_errors, self.page_errors, self.requests):
            record.clear()

    def _console(self, message: "ConsoleMessage") -> None:
        if message.type == "error":
            self.console_errors.append(message.text)

    def _request(self, request: "Request") -> None:
        self.requests.append(request.url)


@contextmanager
def chromium() -> Iterator[Watched]:
    """Headless Chromium; skips the test, with the reason, where playwright or a browser is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield Watched(browser)
        finally:
            browser.close()

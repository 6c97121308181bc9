"""Open pages in the system's Chromium, and record their errors and requests."""

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
    """A browser that records the errors and requests of pages opened with ``new_page``."""

    browser: "Browser"
    console_errors: list[str] = field(default_factory=list)
    page_errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def new_page(self, **options: Any) -> "Page":
        """Return a page in its own context; the options are those of playwright's ``Browser.new_page``."""
        page = self.browser.new_page(**options)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        page.on("request", self._request)
        return page

    def forget(self) -> None:
        """Clear the records."""
        for record in (self.console_errors, self.page_errors, self.requests):
            record.clear()

    def _console(self, message: "ConsoleMessage") -> None:
        if message.type == "error":
            self.console_errors.append(message.text)

    def _request(self, request: "Request") -> None:
        self.requests.append(request.url)


@contextmanager
def chromium() -> Iterator[Watched]:
    """Start headless Chromium; skip the test with a reason if playwright or a browser is missing."""
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

"""Test the page of a real report in a browser: in wide and narrow windows, light and dark."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import chromium
from made_runs import write_tested_run

from headstart.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Page as Tab

STRATEGIES = {"finetune_all": 0.9, "linear_probe": 0.8, "gradual_unfreeze": 0.75, "nearest_centroid": 0.7, "knn": 0.6}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of five strategies on three seeds, two epochs each."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for strategy, accuracy in STRATEGIES.items():
        for seed in range(3):
            write_tested_run(folder / "runs", strategy, seed, rng.random(90) < accuracy, rng.random(60) < accuracy)
    assert main(["report", str(folder / "runs"), "--out", str(folder)]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def show(report: Path) -> Iterator[Callable[..., "Tab"]]:
    with chromium() as watched:

        def opened(width: int, scheme: str, **options: Any) -> "Tab":
            tab = watched.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
            tab.goto(report.as_uri())
            return tab

        yield opened
        assert watched.page_errors == []
        assert watched.console_errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_leaves_the_window(show: Callable[..., "Tab"], width: int, scheme: str) -> None:
    tab = show(width, scheme)
    for figure in tab.locator("figure").all():
        figure.scroll_into_view_if_needed()
    tab.locator("figure.chart .nsewdrag").first.wait_for()
    tab.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width, timeout=5000)


def test_verdicts_are_seen_without_scrolling_at_1400(show: Callable[..., "Tab"]) -> None:
    tab = show(1400, "light")
    block = tab.locator("#table-differences")
    assert block.locator("thead th").last.inner_text().startswith("verdict")
    assert block.locator(".scroll").evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0
    box = block.locator("tbody tr").first.locator("td").last.bounding_box()
    assert box is not None
    assert box["width"] > 200
    assert box["x"] + box["width"] <= 1400


def test_contents_are_folded_on_a_phone_and_open_on_a_desk(show: Callable[..., "Tab"]) -> None:
    tab = show(390, "light")
    summary, link = tab.locator("nav summary"), tab.locator("nav a", has_text="Figures")
    assert not link.is_visible()
    assert tab.locator("h1").evaluate("(title) => title.getBoundingClientRect().top") < 120
    summary.click()
    assert link.is_visible()
    link.click()
    assert tab.url.endswith("#images")
    assert not link.is_visible()
    tab.set_viewport_size({"width": 1400, "height": 900})
    tab.locator("nav details[open]").wait_for(state="attached")  # the page's policy forbids polling by a function
    assert link.is_visible()
    assert not summary.is_visible()
    without = show(390, "light", java_script_enabled=False)
    assert without.locator("nav a", has_text="Figures").is_visible()


def shades(tab: "Tab") -> list[float]:
    """Return the brightness of the first dots of each figure, 0 to 255."""
    return tab.locator("figure.image img").evaluate_all(
        """(images) => Promise.all(images.map(async (image) => {
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.getContext("2d").getImageData(1, 1, 1, 1).data[0];
        }))"""
    )


def test_figures_have_the_paper_of_the_page(show: Callable[..., "Tab"]) -> None:
    light, dark = show(1400, "light"), show(1400, "dark")
    assert len(shades(light)) >= 5
    assert set(shades(light)) == {255}
    assert set(shades(dark)) == {0x14}
    paper = dark.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
    assert paper == "rgb(20, 23, 27)"
    dark.emulate_media(media="print", color_scheme="dark")
    dark.wait_for_timeout(300)
    assert set(shades(dark)) == {255}, "paper is white"


def test_charts_name_whole_epochs_and_keep_to_100_percent(show: Callable[..., "Tab"]) -> None:
    chart = show(1400, "light").locator("#chart-accuracy-0")
    chart.scroll_into_view_if_needed()
    chart.locator(".nsewdrag").wait_for()
    assert chart.locator(".xtick text").all_text_contents() == ["1", "2", "3"]
    low, high = chart.locator(".plot").evaluate("(plot) => plot._fullLayout.yaxis.range")
    assert 0 <= low < high <= 100

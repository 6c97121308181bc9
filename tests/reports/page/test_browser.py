"""Test the page in a real browser, as a reader uses it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import Watched, chromium
from example_pages import evil_page, large_page, small_page

from headstart.reports.page import render

if TYPE_CHECKING:
    from playwright.sync_api import Locator
    from playwright.sync_api import Page as Tab

WINDOW = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Watched]:
    with chromium() as watched:
        yield watched


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the pages to files."""
    folder = tmp_path_factory.mktemp("pages")
    paths = {}
    pages = {
        "small": small_page(),
        "plain": replace(small_page(), charts=[]),  # plotly takes a second of every load
        "large": large_page(),
        "evil": evil_page(),
    }
    for name, page in pages.items():
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(render(page), encoding="utf-8")
    return paths


@pytest.fixture
def show(browser: Watched, files: dict[str, Path]) -> Iterator[Callable[..., "Tab"]]:
    """Return a function that opens a page; at the end, check that it loaded nothing else and had no error."""
    tabs = []
    browser.forget()

    def opened(name: str, **options: Any) -> "Tab":
        tab = browser.new_page(**{"viewport": WINDOW} | options)
        tab.goto(files[name].as_uri())
        tabs.append(tab)
        return tab

    yield opened
    assert browser.console_errors == []
    assert browser.page_errors == []
    own = {path.as_uri() for path in files.values()}
    assert [url for url in browser.requests if url.partition("#")[0] not in own and not url.startswith("data:")] == []
    for tab in tabs:
        tab.close()


def column(table: "Locator", number: int) -> list[str]:
    """Return the texts of a column in the visible rows."""
    rows = table.locator("tbody tr:visible")
    return rows.evaluate_all("(rows, i) => rows.map((row) => row.cells[i].textContent)", number)


def test_a_click_on_a_number_column_sorts_both_ways_and_back(show: Callable[..., "Tab"]) -> None:
    table = show("plain").locator("#table-results table")
    before = column(table, 3)
    head = table.locator("thead th").nth(3)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(table, 3) == sorted(before, key=lambda cell: float(cell.split()[0]))
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(table, 3) == sorted(before, key=lambda cell: -float(cell.split()[0]))
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(table, 3) == before


def test_sorting_compares_numbers_keeps_ties_and_puts_missing_last(show: Callable[..., "Tab"]) -> None:
    table = show("plain").locator("#table-results table")
    head = table.locator("thead th").nth(6).get_by_role("button")
    equal = ["finetune_all", "linear_probe"] * 2  # 112 seconds, on both data sets
    head.click()
    assert column(table, 6) == ["85"] * 2 + ["112"] * 4 + ["130"] * 2 + ["–"] * 2
    assert column(table, 1)[2:6] == equal
    head.click()
    assert column(table, 6) == ["130"] * 2 + ["112"] * 4 + ["85"] * 2 + ["–"] * 2
    assert column(table, 1)[2:6] == equal


def test_enter_on_a_header_sorts(show: Callable[..., "Tab"]) -> None:
    tab = show("plain")
    table = tab.locator("#table-results table")
    table.locator("thead button").nth(1).focus()
    tab.keyboard.press("Enter")
    assert table.locator("thead th").nth(1).get_attribute("aria-sort") == "ascending"
    assert column(table, 1) == sorted(column(table, 1))


def test_words_and_menus_filter_rows(show: Callable[..., "Tab"]) -> None:
    tab = show("plain")
    block = tab.locator("#table-results")
    table = block.locator("table")
    block.get_by_role("searchbox").fill("SCENE15  finetune")
    assert column(table, 1) == ["finetune_all", "finetune_upper"]
    assert block.locator("output").inner_text() == "2 of 10 rows"
    block.get_by_role("combobox", name="strategy").select_option("finetune_all")
    assert column(table, 0) == ["scene15"]
    block.get_by_role("button", name="Show all").click()
    assert len(column(table, 0)) == 10
    block.get_by_role("combobox", name="data set").select_option("caltech101")
    assert set(column(table, 0)) == {"caltech101"}
    assert block.locator("select").count() == 2  # lr is a number


def test_a_cell_opens_its_runs_with_command_and_config(show: Callable[..., "Tab"]) -> None:
    tab = show("plain")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    runs = small_page().runs
    tab.locator("#table-results tbody tr").nth(1).locator("a").first.click()
    panel = tab.get_by_role("dialog")
    assert panel.locator("#panel-title").inner_text() == "3 runs"
    assert "caltech101 · finetune_upper · test (%)" in panel.locator("#panel-context").inner_text()
    listed = panel.locator("details.run")
    assert listed.count() == 3
    for place, run in enumerate(runs[3:6]):
        one = listed.nth(place)
        told = one.locator("summary").first.inner_text()
        assert run.name in told
        assert f"seed {place}" in told
        assert "backbone" not in told
        assert one.locator("pre.command").all_inner_texts() == [run.repeat_command, run.train_command, run.directory]
        assert f"{100 * run.metrics['test/accuracy']:.1f}" in one.locator(".facts").nth(1).inner_text()
    one = listed.nth(2)
    one.locator("summary", has_text="Config").click()
    shown = one.locator("pre", has_text="seeds:")
    shown.wait_for()  # it is put in once opened
    assert shown.text_content() == runs[5].config
    assert "seed: 2" in [mark.strip() for mark in one.locator("mark").all_inner_texts()]
    assert not any("batch_size" in mark for mark in one.locator("mark").all_inner_texts())
    one.get_by_role("button", name="Copy the command that repeats the run").click()
    assert tab.evaluate("navigator.clipboard.readText()") == runs[5].repeat_command
    panel.get_by_role("button", name="Copy all 3 commands").click()
    assert tab.evaluate("navigator.clipboard.readText()").splitlines() == [run.repeat_command for run in runs[3:6]]
    tab.keyboard.press("Escape")
    assert not panel.is_visible()
    focused = tab.evaluate("document.activeElement.dataset.runs")
    assert focused == "3,4,5"


def test_a_run_of_the_run_table_opens_by_keyboard_and_links_back(show: Callable[..., "Tab"]) -> None:
    tab = show("plain")
    tab.locator("#run-7 a").focus()
    tab.keyboard.press("Enter")
    panel = tab.get_by_role("dialog")
    assert panel.locator("#panel-title").inner_text() == small_page().runs[7].name
    panel.get_by_role("link", name="Show it in the table of runs").click()
    assert not panel.is_visible()
    assert tab.url.endswith("#run-7")
    assert tab.locator("#run-7").is_visible()


def drawn_lines(chart: "Locator") -> int:
    """Return the visible lines of a chart, without bands."""
    return chart.locator(".plot").evaluate(
        "(plot) => plot.data.filter((trace) => trace.name && trace.visible === true).length"
    )


def test_names_and_kinds_switch_lines(show: Callable[..., "Tab"]) -> None:
    tab = show("small")
    chart = tab.locator("#chart-curves-caltech101")
    chart.scroll_into_view_if_needed()
    chart.locator(".nsewdrag").wait_for()
    assert drawn_lines(chart) == 10
    name = chart.get_by_role("button", name="scratch")
    name.focus()
    tab.keyboard.press("Enter")
    assert name.get_attribute("aria-pressed") == "false"
    assert drawn_lines(chart) == 8
    chart.get_by_label("training").uncheck()
    assert drawn_lines(chart) == 4
    chart.get_by_role("button", name="head_only").dblclick()
    assert drawn_lines(chart) == 1
    chart.get_by_label("bands").uncheck()
    shown = chart.locator(".plot").evaluate("(plot) => plot.data.filter((trace) => trace.visible).map((t) => t.name)")
    assert shown == ["head_only, validation"]


def test_the_numbers_of_a_chart_are_there_as_a_table(show: Callable[..., "Tab"]) -> None:
    chart = show("small").locator("#chart-labels")
    chart.locator("summary").click()
    chart.locator("tbody tr").nth(29).wait_for()
    assert chart.locator("tbody tr").count() == 30
    assert chart.locator("tbody tr").first.locator("td").first.inner_text() == "1"


def test_a_narrow_window_has_no_scrollbar_across(show: Callable[..., "Tab"]) -> None:
    tab = show("small", viewport={"width": 800, "height": 700})
    for width in (800, 360):
        tab.set_viewport_size({"width": width, "height": 700})
        for figure in tab.locator("figure").all():
            figure.scroll_into_view_if_needed()
        tab.locator("#chart-labels .nsewdrag").wait_for()
        tab.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width, timeout=5000)
    tab.locator("#table-results td a").first.click()
    assert tab.get_by_role("dialog").evaluate("(panel) => panel.scrollWidth - panel.clientWidth") <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hovering_a_chart_shows_names_means_and_bands_in_the_colours_of_the_page(
    show: Callable[..., "Tab"], scheme: str, tmp_path: Path
) -> None:
    tab = show("small", color_scheme=scheme)
    tab.screenshot(path=tmp_path / f"{scheme}-top.png")
    chart = tab.locator("#chart-curves-caltech101")
    chart.scroll_into_view_if_needed()
    chart.locator(".nsewdrag").hover()
    box = chart.locator(".hoverlayer .legend")
    box.wait_for()
    said = box.locator("text").all_text_contents()
    assert any(text.startswith("epoch ") for text in said)
    assert any(text.startswith("linear_probe, validation: ") and " to " in text for text in said)
    assert any(text.startswith("linear_probe, training: ") for text in said)
    tab.screenshot(path=tmp_path / f"{scheme}-chart.png")
    page = tab.locator("body").evaluate("(body) => parseInt(getComputedStyle(body).backgroundColor.match(/\\d+/)[0])")
    assert page > 240 if scheme == "light" else page < 40
    paper = chart.locator(".plot").evaluate("(plot) => parseInt(plot.layout.paper_bgcolor.slice(1, 3), 16)")
    assert paper == page
    tab.locator("#table-results td a").first.click()
    tab.screenshot(path=tmp_path / f"{scheme}-panel.png")


def test_paper_is_light_and_complete(show: Callable[..., "Tab"]) -> None:
    tab = show("small", color_scheme="dark")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.locator("figure.chart .nsewdrag").count() == 3
    assert tab.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor") == "rgb(255, 255, 255)"
    assert not tab.locator("nav").is_visible()
    assert tab.locator("#table-results .help dd").first.is_visible()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not tab.locator("#table-results .help").get_attribute("open")


def test_500_runs_sort_and_filter_in_a_blink(show: Callable[..., "Tab"]) -> None:
    tab = show("large")
    milliseconds = tab.evaluate(
        """() => [...document.querySelectorAll("#run-table thead button")].map((button) => {
            const start = performance.now();
            button.click();
            document.body.offsetHeight;
            return performance.now() - start;
        })"""
    )
    assert sorted(milliseconds)[len(milliseconds) // 2] < 800  # about 100 on two cores; the rest is for a busy machine
    block = tab.locator("#run-table")
    block.get_by_role("searchbox").fill("scene15 seed3 scratch")
    assert block.locator("output").inner_text() == "10 of 500 rows"


def test_a_large_group_is_listed_folded(show: Callable[..., "Tab"]) -> None:
    tab = show("large")
    tab.locator("#table-results td a").first.click()
    listed = tab.locator("details.run")
    assert listed.count() == 5
    assert listed.locator("pre").count() == 0
    listed.nth(4).locator("summary").first.click()
    assert listed.nth(4).locator("pre").first.inner_text() == large_page().runs[4].repeat_command


def test_names_that_are_markup_stay_names(show: Callable[..., "Tab"]) -> None:
    tab = show("evil")
    page = evil_page()
    name = page.runs[0].name
    assert tab.locator("#table-results tbody th").first.text_content() == name
    assert tab.locator("#run-0 a").text_content() == name
    assert page.runs[0].facts["data set"] in tab.locator("#run-table option").all_text_contents()
    tab.locator("#table-results tbody a").first.click()
    assert tab.locator("#panel-body pre.command").last.text_content() == page.runs[0].directory
    tab.locator("#panel summary", has_text="Config").first.click()
    tab.keyboard.press("Escape")
    chart = tab.locator("figure.chart").first
    chart.scroll_into_view_if_needed()
    assert chart.locator(".legend button").first.text_content() == name
    chart.locator(".nsewdrag").hover()
    box = chart.locator(".hoverlayer .legend")
    box.wait_for()
    assert any("<img src=x" in text for text in box.locator("text").all_text_contents())
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("img").count() == 1


def test_without_javascript_everything_but_charts_is_readable(show: Callable[..., "Tab"]) -> None:
    tab = show("small", java_script_enabled=False)
    assert tab.locator("#table-results tbody tr").count() == 10
    assert not tab.locator("#table-results .controls").is_visible()
    assert tab.get_by_text("The charts need JavaScript").is_visible()
    assert tab.locator("#table-results td a").first.get_attribute("href") == "#run-0"

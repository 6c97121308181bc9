"""Test the text of a page: self-contained, safe, small, and the same every time."""

import hashlib
import json
import math
import re
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from example_pages import evil_page, large_page, small_page
from hypothesis import given
from hypothesis import strategies as st

from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.page import FigureImage, Page, RunCard, Series, render
from headstart.reports.page.data import metric_text, safe_json, split_configs
from headstart.reports.page.run_table import run_table


class Parsed(HTMLParser):
    """Elements with their attributes, and the texts of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.stack: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")
        if tag not in ("meta", "link", "img", "input", "br"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack
        assert self.stack.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> dict:
        return json.loads(self.scripts[0])


def test_nothing_is_fetched_and_only_own_scripts_may_run() -> None:
    parsed = Parsed(render(small_page()))
    assert parsed.stack == []
    for _, attributes in parsed.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:", "./")), attributes
    assert not re.search(r"url\(|@import", "".join(parsed.text))
    (policy,) = [m["content"] or "" for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert not re.search(r"https?:|\*|script-src[^;]*unsafe", policy)
    allowed = {b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in parsed.scripts[1:]}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == allowed
    assert len(allowed) == 2


def test_ids_are_unique_and_links_have_targets() -> None:
    parsed = Parsed(render(evil_page()))
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(a.get("href") or "")[1:] for a in parsed.all("a") if (a.get("href") or "").startswith("#")}
    assert {"main", "summary", "notes", "tables", "charts", "images", "runs", "run-0"} <= targets <= set(ids)


def test_plotly_is_there_once_and_only_for_charts() -> None:
    page = small_page()
    assert render(page).count("* plotly.js v") == 1
    bare = render(replace(page, charts=[]))
    assert "plotly.js v" not in bare
    assert len(bare) < 200_000


def test_rendering_imports_neither_plotly_nor_anything_heavy() -> None:
    code = (
        "import sys; from headstart.reports.page.render import plotly_script; plotly_script(); "
        "print([name for name in ('plotly', 'pandas', 'numpy', 'torch', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    heavy = json.loads(done.stdout.replace("'", '"'))
    assert "plotly" not in heavy
    assert "torch" not in heavy


def test_any_characters_stay_text() -> None:
    page = evil_page()
    html = render(page)
    html.encode()
    parsed = Parsed(html)
    assert parsed.stack == []
    assert len(parsed.scripts) == 3
    assert not [a for _, attributes in parsed.elements for a in attributes if a.startswith("on")]
    assert {tag for tag, _ in parsed.elements} == {tag for tag, _ in Parsed(render(small_page())).elements}
    assert parsed.data["runs"][0]["name"] == page.runs[0].name
    assert parsed.data["runs"][0]["directory"] == page.runs[0].directory
    assert page.runs[0].name in parsed.text
    assert not set("<>&\u2028\u2029") & set(parsed.scripts[0])


@given(st.recursive(st.text() | st.none() | st.integers(), lambda inner: st.lists(inner)))
def test_json_is_safe_and_gives_back_what_went_in(value: object) -> None:
    text = safe_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set("<>&") & set(text)


@given(st.lists(st.text(alphabet="ab:- \n\r\t#<\u2028", max_size=40)))
def test_configs_come_back_exactly(texts: list[str]) -> None:
    blocks, numbers = split_configs(texts)
    assert ["".join(blocks[number] for number in one) for one in numbers] == texts
    assert len(set(blocks)) == len(blocks)


def test_configs_of_many_runs_are_kept_once() -> None:
    page = large_page()
    assert len(page.runs) == 500
    html = render(page)
    data = Parsed(html).data
    configs = ["".join(data["blocks"][block] for block in run["config"]) for run in data["runs"]]
    assert configs == [run.config for run in page.runs]
    assert len(json.dumps(data["blocks"])) < 0.05 * sum(len(run.config) for run in page.runs)
    assert len(html) < 1_000_000


def test_500_runs_take_well_under_a_second() -> None:
    page = large_page()
    render(page)
    start = time.process_time()
    render(page)
    assert time.process_time() - start < 0.7


def test_the_same_page_is_the_same_text() -> None:
    assert render(small_page()) == render(small_page())


def test_missing_numbers_are_null() -> None:
    page = small_page()
    series = Series("one", "#0072B2", "solid", [1, 2, 3], [1.0, math.nan, None], [0.5, math.inf, None], [2.0, 3.0, 4.0])
    chart = replace(page.charts[0], series=[series])
    (drawn,) = Parsed(render(replace(page, charts=[chart]))).data["charts"][0]["series"]
    assert drawn["y"] == [1, None, None]
    assert drawn["low"] == [0.5, None, None]


def test_training_is_dotted() -> None:
    chart = Parsed(render(small_page())).data["charts"][0]
    dashes = {(series["kind"], series["dash"]) for series in chart["series"]}
    assert dashes == {
        ("train", "dot"),
        ("validation", "solid"),
    }


def test_sort_keys_are_there_where_the_text_is_not_enough() -> None:
    rows = [[Cell("b", "1 first"), Cell("9.5", 9.5)], [Cell("a"), Cell("–")], [Cell("c"), Cell("nan", math.nan)]]
    table = ReportTable("t", "T", "", [Column("name"), Column("number", "number")], rows)
    html = render(Page("P", tables=[table]))
    assert re.findall(r'data-value="([^"]*)"', html) == ["1 first", "9.5"]


def test_the_run_table_lists_what_differs_and_says_what_does_not() -> None:
    runs = [
        RunCard(f"run{i}", f"/runs/{i}", "", "", "", {"lr": lr, "weights": "imagenet", "size": size}, metrics)
        for i, (lr, size, metrics) in enumerate(
            [
                ("0.1", "64", {"train/loss": 0.25, "test/accuracy": 0.9}),
                ("0.02", "whole", {"test/accuracy": 0.85, "ece": math.nan}),
            ]
        )
    ]
    table = run_table(runs)
    assert table.note == "All runs share weights imagenet."
    assert [(column.name, column.kind) for column in table.columns] == [
        ("run", "text"),
        ("lr", "number"),
        ("size", "text"),
        ("test accuracy (%)", "number"),
        ("train loss", "number"),
        ("ece", "number"),
    ]
    assert [cell.text for cell in table.rows[1]] == ["run1", "0.02", "whole", "85.0", "–", "–"]


def test_metrics_as_people_read_them() -> None:
    assert metric_text("test/balanced_accuracy", 0.91349) == "91.3"
    assert metric_text("test/loss", 0.123456) == "0.1235"
    assert metric_text("test/loss", math.nan) == "–"


def test_notes_are_listed_and_many_are_folded() -> None:
    page = small_page()
    html = render(page)
    assert '<a href="#notes">Notes (2)</a>' in html
    assert "<details open><summary>2 notes on the runs</summary>" in html
    folded = render(replace(page, notes=[f"run {i}: failed" for i in range(9)]))
    assert "<details><summary>9 notes on the runs</summary>" in folded
    assert 'id="notes"' not in render(replace(page, notes=[]))


def test_images_keep_their_size_and_name_their_files() -> None:
    pixel_rows = small_page().images[0]
    parsed = Parsed(render(Page("P", images=[replace(pixel_rows, files=["a b.pdf", "javascript:x.svg"])])))
    (image,) = parsed.all("img")
    assert (image["width"], image["height"]) == ("1000", "420")
    assert b64decode((image["src"] or "").partition(",")[2]) == pixel_rows.png
    assert [a["href"] for a in parsed.all("a")][-2:] == ["./a%20b.pdf", "./javascript%3Ax.svg"]


def test_an_empty_page_is_a_page() -> None:
    assert Parsed(render(Page("Nothing yet"))).stack == []


def test_content_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns, but a row of 1"):
        ReportTable("t", "T", "", [Column("a"), Column("b")], [[Cell("x")]])
    with pytest.raises(ValueError, match="different lengths"):
        Series("s", "#000000", "solid", [1, 2], [1.0])
    with pytest.raises(ValueError, match="names run 3, but there are 0 runs"):
        Page("P", tables=[ReportTable("t", "T", "", [Column("a")], [[Cell("x", runs=(3,))]])])
    with pytest.raises(ValueError, match="Two tables have the id 't'"):
        Page("P", tables=[ReportTable("t", "T", "", [], []), ReportTable("t", "U", "", [], [])])
    with pytest.raises(ValueError, match="not a PNG"):
        FigureImage("P", "", b"GIF89a")

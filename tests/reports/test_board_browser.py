"""Test TensorBoard in a browser: curves in one chart, final scores in a table, shaded bands.

HEADSTART_SCREENSHOTS=FILE.png and HEADSTART_RUNS=FOLDER also draw the image of the documentation, from these runs.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import chromium
from conftest import SMALLEST, TINY, runs_below

from headstart.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Page

WAIT = 30_000  # milliseconds
STRATEGIES = ["head_only", "finetune_all"]
VIEW = {"width": 1280, "height": 800}  # two charts side by side
MEANS = "runFilter=comparison.*(train|validation)&tagFilter=epoch&smoothing=0#timeseries"


@contextmanager
def board(runs: Path) -> Iterator[str]:
    """Yield the address of headstart board over the runs."""
    code = "import sys; from headstart.cli import main; sys.exit(main(['board', *sys.argv[1:]]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(runs), "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def chart(page: "Page", tag: str) -> str:
    """Return the text of a tag's card in the tab Time Series: its title, and a table with a line for each run."""
    card = page.locator("card-view", has_text=tag).first
    card.locator("scalar-card-data-table tb-data-table-content-row").first.wait_for(timeout=WAIT)
    return card.inner_text()


def runs_table(page: "Page") -> None:
    """Wait for the list of runs."""
    page.locator("runs-data-table tb-data-table-content-row").first.wait_for(timeout=WAIT)


def take_image(page: "Page", address: str, path: Path) -> None:
    """Save an image of the mean curves of training and validation, with the settings of the tab hidden."""
    page.goto(f"{address}?{MEANS}")
    chart(page, "epoch_accuracy")
    chart(page, "epoch_loss")
    page.get_by_label("Toggle settings side pane").click()
    for button in page.get_by_label("Expand Table").all():
        button.click()
    page.mouse.move(5, 5)
    page.wait_for_timeout(1000)  # panels slide
    page.screenshot(path=path)


@pytest.mark.slow
def test_tensorboard_shows_what_a_comparison_needs(tmp_path: Path) -> None:
    # More test images, so that runs hardly tie.
    settings = [*TINY, *SMALLEST, "dataset.counts=[6,4,24]", "trainer.max_epochs=3", "augmentation=crop_resize"]
    assert main(["train", "-m", *settings, f"strategy={','.join(STRATEGIES)}", "seed=0,1", "output_dir=runs"]) == 0
    finished = runs_below(Path("runs"))
    assert len(finished) == 4
    with board(Path("runs")) as address, chromium() as watched:
        page = watched.new_page(viewport=VIEW)
        page.goto(f"{address}?runFilter=seed=0&tagFilter=epoch_accuracy&smoothing=0#timeseries")
        runs_table(page)
        told = chart(page, "epoch_accuracy")
        page.screenshot(path=tmp_path / "runs.png")
        for strategy in STRATEGIES:
            for split in ("train", "validation"):  # one chart holds them all
                assert any(strategy in line and line.endswith(f"/{split}") for line in told.splitlines()), told

        page.goto("about:blank")
        page.goto(address)
        first = page.locator("card-view").first
        first.locator("scalar-card-data-table tb-data-table-content-row").first.wait_for(timeout=WAIT)
        page.screenshot(path=tmp_path / "first.png")
        assert first.inner_text().splitlines()[0] == "epoch_accuracy"
        assert page.locator("image-card").count() == 0
        for strategy in STRATEGIES:
            assert f"comparison/textures/{strategy}/validation" in first.inner_text()

        take_image(page, address, tmp_path / "means.png")
        told = chart(page, "epoch_accuracy")
        for strategy in STRATEGIES:
            assert f"comparison/textures/{strategy}/validation" in told

        page.goto("about:blank")  # else only the part after # changes, and nothing is loaded
        page.goto(f"{address}#hparams")
        cells = page.locator("vaadin-grid-cell-content")
        cells.get_by_text("final/test_accuracy", exact=True).wait_for(timeout=WAIT)
        cells.get_by_text("head_only", exact=True).first.wait_for(timeout=WAIT)
        page.screenshot(path=tmp_path / "hparams.png")
        shown = {text.strip() for text in cells.all_inner_texts()}
        assert {"strategy", "seed", "final/test_accuracy", "final/test_accuracy_deviation", *STRATEGIES} <= shown
        for run in finished:
            assert any(close(cell, run["metrics"]["test/accuracy"]) for cell in shown), shown

        page.goto("about:blank")
        page.goto(f"{address}#custom_scalars")
        page.get_by_text("accuracy: mean and one deviation over runs").first.wait_for(timeout=WAIT)
        page.locator("tf-custom-scalar-margin-chart-card").first.get_by_text("Matches (").wait_for(timeout=WAIT)
        page.wait_for_timeout(1500)
        page.screenshot(path=tmp_path / "bands.png")
        assert page.locator("tf-custom-scalar-margin-chart-card").count() == 2
        assert page.locator("tf-custom-scalar-multi-line-chart-card").count() == 3

        assert not watched.page_errors
        assert not watched.console_errors
        away = [url for url in watched.requests if not url.startswith((address, "data:", "blob:", "about:"))]
        assert not away


@pytest.mark.skipif("HEADSTART_SCREENSHOTS" not in os.environ, reason="draws an image for the documentation")
def test_the_image_of_the_documentation_is_drawn() -> None:
    with board(Path(os.environ["HEADSTART_RUNS"])) as address, chromium() as watched:
        take_image(watched.new_page(viewport=VIEW), address, Path(os.environ["HEADSTART_SCREENSHOTS"]))


def close(cell: str, value: float) -> bool:
    """Return whether a cell shows the value, to the five digits of TensorBoard."""
    try:
        return float(cell) == pytest.approx(value, rel=1e-4)
    except ValueError:
        return False

"""Test progress on a terminal and in a log file, with a clock of the tests."""

import io
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import one_hot

from headstart import progress
from headstart.inputs.batch import Batch
from headstart.progress import BETWEEN_LINES, ProgressLine, counted, counted_batches, duration, within
from headstart.solvers import block_fit, descent, linear_fit, probe_fit
from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe_fit import fit_probe
from headstart.solvers.ridge import solve
from headstart.tasks import Classification


class Screen(io.StringIO):
    """Standard error that is a terminal or not."""

    terminal = False

    def isatty(self) -> bool:
        """Return whether the test wants a terminal."""
        return self.terminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Replace standard error, for a process that has shown no progress yet."""
    for name in ("TQDM_DISABLE", "RANK", "SLURM_PROCID", "TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=(screen := Screen())))
    monkeypatch.setattr(progress, "_LAST_LINE", [-BETWEEN_LINES])
    return screen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return a clock that only the test moves; the thread that shows progress sleeps."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(progress, "PATIENCE", 3600.0)
    yield now
    assert not progress._OPEN


def test_a_log_gets_a_line_at_most_every_thirty_seconds(screen: Screen, clock: list[float]) -> None:
    with ProgressLine("training", 50_000) as first:
        for clock[0] in range(2, 62):
            first.advance(100)
            first.show(clock[0])
    with ProgressLine("validation", 1000) as second:
        second.advance(10)
        second.show(62.0)
    lines = screen.getvalue().splitlines()
    assert lines == [
        "training: 100 of 50,000 images (0 %), 50 images/s, 16:38 left",
        "training: 3,100 of 50,000 images (6 %), 96.9 images/s, 8:04 left",
        "validation: 10 of 1,000 images (1 %), 10 images/s, 1:39 left",
    ]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: ProgressLine("knn", unit=""), "knn: 0:12 so far"),
        (lambda: ProgressLine("logistic fit", 13, "strengths"), "logistic fit: 0 of 13 strengths (0 %), 0:12 so far"),
        (lambda: ProgressLine("training", 100, done=50), "training: 50 of 100 images (50 %), 0:12 so far"),
        (lambda: ProgressLine("nothing", 0), "nothing: 0:12 so far"),
    ],
)
def test_what_is_unknown_is_left_out(screen: Screen, clock: list[float], make, line: str) -> None:
    with make() as work:
        work.show(12.0)
    assert screen.getvalue() == line + "\n"


def test_what_was_done_before_does_not_count_for_the_speed(screen: Screen, clock: list[float]) -> None:
    with ProgressLine("training", 100, done=50) as work:
        work.advance(10)
        assert work.line(10.0) == "training: 60 of 100 images (60 %), 1 images/s, 0:40 left"


def test_a_terminal_shows_a_bar_and_takes_it_away(
    screen: Screen, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    screen.terminal = True
    with within("run 2 of 3"), ProgressLine("training", 200) as work:
        work.advance(50)
        work.note = "a note"
        assert work.show(3.0) < 1
        shown = screen.getvalue()
        progress.write("a line of the log")
    assert "run 2 of 3, training:  25 % |" in shown
    assert "50/200 [" in shown
    assert "images/s, a note]" in shown
    assert screen.getvalue().endswith("\r")  # and the cursor stands where it stood
    assert capsys.readouterr().out == "a line of the log\n"


@pytest.mark.parametrize("name", ["TERM", "only_lines"])
def test_no_bar_where_it_would_be_in_the_way(
    screen: Screen, clock: list[float], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    screen.terminal = True
    monkeypatch.setenv("TERM", "dumb" if name == "TERM" else "xterm")
    with within("run 1 of 2", only_lines=name == "only_lines"), ProgressLine("training", 10) as work:
        work.show(5.0)
    assert screen.getvalue() == "run 1 of 2, training: 0 of 10 images (0 %), 0:05 so far\n"


@pytest.mark.parametrize(("name", "value"), [("RANK", "1"), ("SLURM_PROCID", "3"), ("TQDM_DISABLE", "1")])
def test_processes_that_follow_are_silent(
    screen: Screen, clock: list[float], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with ProgressLine("training", 10) as work:
        work.show(60.0)
    assert not screen.getvalue()


def test_nested_work_replaces_the_line(screen: Screen, clock: list[float]) -> None:
    with ProgressLine("outer", 10) as outer:
        with ProgressLine("inner", 10) as inner:
            outer.show(40.0)
            assert not screen.getvalue()
            inner.show(40.0)
        outer.show(80.0)
    assert [line.split(":")[0] for line in screen.getvalue().splitlines()] == ["inner", "outer"]


def test_only_long_work_shows_progress(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.2)
    for _ in counted(range(3), "short", 3):
        pass
    with ProgressLine("one long step", unit=""):  # which never says how far it is
        time.sleep(0.5)
    assert screen.getvalue() == "one long step: 0:00 so far\n"


def test_a_full_disk_behind_standard_error_ends_no_work(screen: Screen, clock: list[float]) -> None:
    def full(text: str) -> int:
        raise OSError(28, "No space left on device")

    screen.write = full  # type: ignore[method-assign]
    with ProgressLine("training", 10) as work:
        work.show(40.0)


def test_batches_count_their_images(screen: Screen, clock: list[float]) -> None:
    loader = type("Loader", (list,), {"dataset": range(5)})([Batch(None, None, [0, 1, 2]), Batch(None, None, [3, 4])])
    batches = counted_batches(loader, "test")
    for clock[0], _ in zip((0, 10), batches, strict=False):
        progress._OPEN[0].show(40.0)
        break
    next(batches)
    assert progress._OPEN[0].line(1.0).startswith("test: 3 of 5 images")
    assert list(batches) == []


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (7.4, "0:07"), (750, "12:30"), (3725, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- what computes heads says how far it is


def features(images: int = 300, classes: int = 20, width: int = 8) -> Features:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    return Features(torch.randn(images, width, generator=generator) + labels[:, None] / 10, labels)


def test_a_fit_shows_strength_and_iteration(
    screen: Screen, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = features()
    fit_linear = probe_fit.fit_linear

    def watched(*args):
        *others, on_iteration = args

        def told(number: int) -> None:
            on_iteration(number)
            clock[0] += BETWEEN_LINES  # each iteration takes so long
            progress._OPEN[-1].show(clock[0])

        return fit_linear(*others, told)

    monkeypatch.setattr(probe_fit, "fit_linear", watched)
    fit_probe(train, train, Classification(20), [1.0, 0.1])
    lines = screen.getvalue().splitlines()
    assert lines[0] == "logistic fit: 0 of 2 strengths (0 %), 0:30 so far, l2=1, iteration 1"
    assert lines[1].endswith("l2=1, iteration 2")
    (begun, *_) = [line for line in lines if "l2=0.1," in line]
    assert begun.startswith("logistic fit: 1 of 2 strengths (50 %)")
    assert begun.endswith("iteration 1")


def test_a_fit_in_blocks_shows_strength_and_iteration(
    screen: Screen, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = features()
    search = descent._search

    def slow(*args):
        clock[0] += BETWEEN_LINES
        progress._OPEN[-1].show(clock[0])
        return search(*args)

    monkeypatch.setattr(descent, "_search", slow)
    monkeypatch.setattr(probe_fit, "LARGE", 1)
    fit_probe(train, train, Classification(20), [1.0, 0.1])
    lines = screen.getvalue().splitlines()
    assert lines[0] == "logistic fit: 0 of 2 strengths (0 %), 0:30 so far, l2=1, iteration 0"
    assert lines[1].endswith("l2=1, iteration 1")
    assert any(line.startswith("logistic fit: 1 of 2") and "l2=0.1, iteration" in line for line in lines)


def test_a_fit_in_blocks_shows_how_far_a_long_pass_is(
    screen: Screen, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, logistic = features(), linear_fit.LOSSES["logistic"]

    def slow(*args):
        clock[0] += BETWEEN_LINES
        progress._OPEN[-1].show(clock[0])
        return logistic(*args)

    monkeypatch.setitem(linear_fit.LOSSES, "logistic", slow)
    monkeypatch.setattr(probe_fit, "LARGE", 1)
    monkeypatch.setattr(block_fit, "BLOCK", 1)  # blocks of 64 images
    fit_probe(train, train, Classification(20), [1.0])
    count = len(train.targets)
    lines = screen.getvalue().splitlines()
    assert lines[0].endswith("l2=1, iteration 0")
    assert lines[1].endswith(f"l2=1, iteration 0, {100 * 64 / count:.0f} % of its images")


def test_neighbours_are_counted_by_chunks() -> None:
    train, sizes = features(2500), []
    memory = NearestNeighbours(train.values, train.targets, 20, 3, 0.07)
    memory.nearest(train.values, 3, torch.arange(len(train.values)), on_chunk=sizes.append)
    assert sizes == [1024, 1024, 452]


def test_ridge_gives_a_solution_at_a_time() -> None:
    train = features()
    solutions = solve(train.values.double(), one_hot(train.targets, 20).double(), [1.0, 0.1])
    assert next(solutions)[0] == 1.0
    assert next(solutions)[0] == 0.1

"""Test the command line: every error ends in one sentence and an exit code, without a traceback."""

import errno
import os
import re
import resource
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CHECKOUT, SMALLEST, TINY, answer_of
from forking import Server
from made_runs import write_run

from headstart import __version__
from headstart.cli import COMMANDS, HELP, INSPECT, main
from headstart.errors import HeadstartError
from headstart.files import WRITTEN, atomic_file, check_writable, write_atomically

# Each command's arguments, and the function that it calls first.
CALLS = {
    "train": (["train", *TINY, "output_dir=o", "sweep.retry=0"], "commands.train.start"),
    "pretrain": (
        ["pretrain", "objective=contrast", *TINY, "output_dir=o", "sweep.retry=0"],
        "commands.train.start",
    ),
    "status": (["status", "."], "commands.status.overview"),
    "report": (["report", "."], "commands.report.read_runs"),
    "predict": (["predict", ".", "."], "commands.predict._check"),
    "export": (["export", ".", "--to", "onnx"], "commands.export.check_writable"),
    "card": (["card", "."], "commands.card.card_of"),
    "board": (["board", "."], "commands.board.find_run_directories"),
    "evaluate": (["evaluate", "."], "commands.evaluate.run_directory"),
    "explain": (["explain", "."], "commands.explain.run_directory"),
    "reproduce": (["reproduce", "."], "commands.reproduce.read_record"),
    "diff": (["diff", ".", "."], "commands.diff.read_record"),
    "inspect": (["inspect", *SMALLEST], "inspecting.network._composed"),
    "layers": (["inspect", "layers"], "inspecting.layers.probe_settings"),
    "augmentation": (["inspect", "augmentation"], "inspecting.augmentation.resolved_and_checked"),
    "audit": (["audit"], "commands.audit.probe_settings"),
    "similarity": (["similarity"], "commands.similarity.probe_settings"),
    "advise": (["advise"], "commands.advise.probe_settings"),
    "policy": (["policy"], "commands.policy.search_settings"),
    "features": (["features", "list", "--dir", "."], "commands.features.entries_table"),
}
# An error, its sentence, and its exit code: 1 if the machine failed, 2 if another path or setting helps.
ERRORS: list[tuple[BaseException, str, int]] = [
    (OSError(errno.ENOSPC, "", "a/b"), "Nothing can be written because the disk is full ('a/b'); make room", 1),
    (OSError(errno.EDQUOT, "", "b"), "the disk quota is used up ('b'); make room", 1),
    (OSError(errno.EFBIG, "", "b"), "a file may not be that large ('b'); raise the limit that 'ulimit -f' shows", 1),
    (OSError(errno.EROFS, "", "b"), "Nothing can be written because the disk is read-only ('b'); write elsewhere", 2),
    (OSError(errno.EIO, "", "b"), "'b' cannot be used because the disk failed; check the disk", 1),
    (OSError(errno.EACCES, "", "b"), "'b' cannot be used because permission is denied; choose a path", 2),
    (OSError(errno.ENOTDIR, "", "b"), "'b' cannot be used because a part of its path is a file", 2),
    (OSError(errno.EISDIR, "", "b"), "'b' cannot be used because it is a folder", 2),
    (OSError(errno.ENAMETOOLONG, "", "b"), "'b' cannot be used because its name is too long; choose a shorter path", 2),
    (OSError(errno.EMFILE, "", "b"), "too many files are open; allow more, as with 'ulimit -n 4096'", 1),
    (OSError(errno.ENOENT, "", "b\udce9\n"), r"'b\udce9\n' does not exist; check its path", 2),
    (OSError(errno.EAGAIN, ""), "No more processes or threads can be started", 1),
    (RuntimeError("can't start new thread"), "No more processes or threads can be started", 1),
    (OSError(errno.ECONNREFUSED, "Connection refused"), "The operating system refused: Connection refused", 1),
    (OSError("cannot identify image"), "The operating system refused: cannot identify image", 1),
    (MemoryError(), "The memory is used up", 1),
    (ImportError("libx.so: failed to map segment from shared object"), "The memory is used up", 1),
    (KeyboardInterrupt(), "interrupted", 130),
]
IN_RUNS = {errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT}


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_every_command_is_in_the_table() -> None:
    assert CALLS.keys() == COMMANDS.keys() | INSPECT.keys()


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize(("error", "sentence", "code"), ERRORS, ids=[repr(error) for error, _, _ in ERRORS])
def test_an_error_of_the_system_is_one_sentence(
    command: str,
    error: BaseException,
    sentence: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if command == "board" and isinstance(error, KeyboardInterrupt):
        pytest.skip("Ctrl-C is how a board ends")
    arguments, called = CALLS[command]
    monkeypatch.setattr(f"headstart.{called}", failing(error))
    if command in ("train", "pretrain") and getattr(error, "errno", None) in IN_RUNS:
        code = 1  # a run that fails may be tried again
    assert main(arguments) == code
    output = capsys.readouterr()
    assert output.err.startswith("headstart: ")
    assert sentence in output.err
    assert len(output.err.splitlines()) == 1
    assert "Traceback" not in output.out


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("headstart.commands.status.overview", failing(ZeroDivisionError("deep inside")))
    assert main(["status", "."]) == 1
    assert "ZeroDivisionError: deep inside" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "expected"), [(OSError(errno.ENOSPC, ""), False), (ValueError("a bug"), True)])
def test_a_thread_prints_bugs_but_no_errors_of_the_system(
    error: Exception, expected: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("threading.excepthook", threading.excepthook)  # put back in the end

    def work(*_: object) -> None:
        thread = threading.Thread(target=failing(error))
        thread.start()
        thread.join()
        raise error

    monkeypatch.setattr("headstart.commands.status.overview", work)
    main(["status", "."])
    output = capsys.readouterr().err
    assert ("Exception in thread" in output) is expected
    assert len(output.splitlines()) == 1 or expected


def test_files_written_before_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("runs"), "scratch", 0, 0.5)
    monkeypatch.setattr("headstart.reports.write.markdown_page", failing(OSError(errno.ENOSPC, "", "report.md")))
    assert main(["report", "runs", "--out", "r"]) == 1
    output = capsys.readouterr().err
    assert "the disk is full ('report.md')" in output
    assert "Written before: " in output
    assert "r/runs.csv" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError("encoder error -2"), "encoder error -2"), (OSError(errno.ENOSPC, "full"), "[Errno 28] full: 'a.png'")],
)
def test_an_error_while_a_file_is_written_keeps_its_message(error: OSError, expected: str) -> None:
    with pytest.raises(OSError, match=f"^{re.escape(expected)}$"), atomic_file(Path("a.png")):
        raise error
    assert not list(Path().iterdir())


@pytest.mark.parametrize("module", ["headstart", "headstart.cli"])
@pytest.mark.filterwarnings("ignore:'headstart.cli' found in sys.modules")
def test_python_m_is_the_command(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for argument, expected in (("--version", f"{__version__}\n"), ("--help", HELP)):
        monkeypatch.setattr(sys, "argv", ["headstart", argument])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__")
        assert ended.value.code == 0
        assert capsys.readouterr().out == expected


# --- places that cannot be written to


def test_a_folder_is_tested_before_the_work_and_left_unchanged(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "newer", "")
    check_writable(tmp_path, "")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / ("n" * 300)):
        with pytest.raises(Exception, match=r"^Nothing can be written below '.*' \(.*\); name another\.$"):
            check_writable(wrong, "name another")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_the_place_of_a_file_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").mkdir()
    check_writable(tmp_path, "", ["b.pdf"])
    with pytest.raises(HeadstartError, match=r"'.*a\.pdf' cannot be written because it is a folder; move it\.$"):
        check_writable(tmp_path, "move it", ["b.pdf", "a.pdf"])


@pytest.mark.parametrize("command", ["report", "board", "layers", "augmentation", "policy"])
def test_a_command_tests_its_folder_before_the_work(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    write_run(Path("runs"), "scratch", 0, 0.5)
    (Path("runs") / "report").touch()
    arguments, work = {
        "report": (["report", "runs", "--out", "file/x"], "commands.report.analyse"),
        "board": (["board", "runs"], "commands.board.make_panels"),
        "layers": (["inspect", "layers", "output_dir=file/x"], "analysis.layer_probes.probe_stages"),
        "augmentation": (
            ["inspect", "augmentation", "augmentation=crop_resize", "output_dir=file/x"],
            "training.compose.make_data",
        ),
        "policy": (["policy", "policy.output=file/x/p.json"], "commands.policy._searched"),
    }[command]
    monkeypatch.setattr(f"headstart.{work}", failing(AssertionError("the work has begun")))
    assert main(arguments) == 2
    output = capsys.readouterr().err
    assert output.startswith("headstart: Nothing can be written below ")
    assert len(output.splitlines()) == 1


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    for path in (tmp_path / "a.csv", tmp_path / "gone" / "b.csv"):
        with pytest.raises(OSError) as raised:  # noqa: PT011 - of several kinds
            write_atomically(path, "text")
        assert raised.value.filename == str(path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    WRITTEN.clear()
    write_atomically(tmp_path / ("ü" * 120), "a name that leaves no room for a longer one")
    assert list(WRITTEN) == [tmp_path / ("ü" * 120)]


# --- streams, limits and folders as a shell gives them


def ended(
    warm: Server, code: str, arguments: list[str], stdout: int | None = None, **environment: str
) -> tuple[int, str]:
    """Run ``code`` and then a command in a separate process; return its exit code and standard error."""
    whole = f"import os, sys, resource, signal\n{code}\nfrom headstart.cli import main\nsys.exit(main({arguments!r}))"
    with Path("out").open("wb") as out, Path("err").open("wb") as err:
        process = warm.popen(
            [sys.executable, "-c", whole],
            stdout=out.fileno() if stdout is None else stdout,
            stderr=err.fileno(),
            env={**os.environ, **environment},
        )
        result = process.wait(60)
    output = Path("err").read_text(encoding="utf-8")
    assert "Traceback" not in output, output
    return result, output


def test_a_closed_pipe_ends_silently(warm: Server) -> None:
    read, write = os.pipe()
    os.close(read)
    assert ended(warm, "", ["--help"], write) == (141, "")
    os.close(write)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_an_output_that_is_full(warm: Server) -> None:
    with Path("/dev/full").open("wb") as full:
        code, output = ended(warm, "", ["--help"], full.fileno())
    assert code == 1
    assert output == (
        "headstart: Nothing can be written because the disk is full ('standard output');"
        " make room, or write elsewhere.\n"
    )


def test_closed_streams_lead_nowhere() -> None:
    """Opened files must not get the numbers of closed streams."""
    code = (
        "import os, sys\nfrom headstart.cli import main\n"
        "assert sys.stdout is None\ncode = main(['--help'])\n"
        "assert os.open('x', os.O_CREAT) > 2\nprint('unheard')\nsys.exit(code)"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        timeout=60,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("command", [["status", "."], ["evaluate", "/runs"], ["inspect", "layers"]])
def test_a_folder_that_was_removed(command: list[str], warm: Server) -> None:
    assert ended(warm, "os.mkdir('w'); os.chdir('w'); os.rmdir('../w')", command) == (
        2,
        "headstart: The working directory was removed; change to another one, as with 'cd ~'.\n",
    )


def test_a_limit_on_the_size_of_files(warm: Server) -> None:
    write_run(Path("runs"), "scratch", 0, 0.5)
    before = set(Path().rglob("*"))
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))"
    code, output = ended(warm, limit, ["report", "runs"])
    assert code == 1
    assert "Nothing can be written below 'runs/report' (a file may not be that large); choose another --out." in output
    assert set(Path().rglob("*")) - {Path("out"), Path("err")} == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1024
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii:strict"}],
)
def test_names_can_be_printed_in_every_locale(environment: dict[str, str]) -> None:
    write_run(Path("runs-é-类"), "scratch", 0, 0.5)
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "status", "runs-é-类", os.fsdecode(b"runs-\xe9")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **environment},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert b"There is no folder 'runs-\\xe9'" in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "status", "runs-é-类"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **environment},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"scratch" in done.stdout


def test_a_place_that_is_missing_is_refused_without_torch() -> None:
    images = ["dataset=image_folder", "dataset.root=gone"]
    commands = [
        ["evaluate", "gone"], ["explain", "gone"], ["predict", "gone", "a.jpg"], ["export", "gone", "--to", "onnx"],
        ["card", "gone"], ["reproduce", "gone"], ["diff", "gone", "gone"], ["status", "gone"], ["report", "gone"],
        ["train", *images], ["audit", *images], ["policy", *images], ["inspect", "layers", *images],
        ["inspect", "augmentation", *images],
    ]  # fmt: skip
    code = (
        "import sys; from headstart.cli import main\n"
        f"print([main(command) for command in {commands!r}], 'torch' in sys.modules)"
    )
    assert answer_of(code).splitlines()[-1] == f"{[2] * len(commands)} False"

"""Start Python processes fast, as copies of a process that has imported all that a run needs.

Starting Python and importing takes seconds, and most tests of other processes do not depend on it. A copy runs
``python -c code``, ``python -m module`` or ``python script`` with its own environment, folder and open files.
"""

import atexit
import fcntl
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

import pytest

# The imports of a run, except for modules that start threads, which a copy would not have.
USUAL = (
    "headstart.training.jobs, headstart.commands.train, headstart.training.progress, headstart.cli, skimage.io, timm"
)
MOST = 1 << 16  # bytes of a request


class Server:
    """The process that has imported everything. ``popen`` copies it. It ends when its parent ends."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            code = f"import {USUAL}; import forking; forking.serve({theirs.fileno()})"
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self.socket = ours

    def popen(
        self,
        args: Sequence[str | Path],
        stdin: int | None = None,
        stdout: Any = None,
        stderr: Any = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> "Copy":
        """Start a Python command like subprocess.Popen, with the options that tests use."""
        assert str(args[0]) == sys.executable, args
        end, status = os.pipe()
        files = [os.open(os.devnull, os.O_RDONLY) if stdin is None else -1, 1, 2, *pass_fds, status]
        opened = [status, files[0]]
        theirs = None
        if stdin == subprocess.PIPE:
            files[0], theirs = os.pipe()
            opened[1] = files[0]
        for place, file in ((1, stdout), (2, stderr)):
            if file == subprocess.STDOUT:
                files[place] = files[1]
            elif file is not None:
                files[place] = file if isinstance(file, int) else file.fileno()
        request = {
            "args": [str(word) for word in args[1:]],
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "numbers": [0, 1, 2, *pass_fds],
        }
        content = json.dumps(request).encode()
        assert len(content) < MOST
        socket.send_fds(self.socket, [content], files)
        for file in opened:
            os.close(file)
        return Copy(os.fdopen(end, "rb", buffering=0), None if theirs is None else os.fdopen(theirs, "wb"))

    def run(self, args: Sequence[str | Path], **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a Python command like subprocess.run with capture_output and text."""
        for name in ("capture_output", "text"):
            assert settings.pop(name) is True
        timeout = settings.pop("timeout", None)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self.popen(args, stdout=out, stderr=err, **settings).wait(timeout)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(args, code, *texts)

    def end(self) -> None:
        """End the server. Its copies continue."""
        self.socket.close()
        self.process.wait()


class Copy:
    """A process with the interface of subprocess.Popen."""

    def __init__(self, status: IO[bytes], stdin: IO[bytes] | None) -> None:
        self.status, self.stdin, self.returncode = status, stdin, None
        self.pid = int(status.readline())

    def poll(self) -> int | None:
        """Return the exit code, or None if the process is running."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code and return it; it is negative for a signal."""
        if self.returncode is None:
            if not select.select([self.status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int(self.status.readline()))
            self.status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if the process is running."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session")
def warm() -> Iterator[Server]:
    """Return the server, started by the first test that needs it."""
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server inside the block."""
    server = Server()
    try:
        yield server
    finally:
        server.end()


def serve(number: int) -> None:
    """Copy this process for each request until the other end is closed."""
    gc.freeze()
    with socket.socket(fileno=number) as requests:
        while True:
            content, files, _, _ = socket.recv_fds(requests, MOST, 16)
            if not content:
                return
            if not os.fork():
                requests.close()
                _watch(json.loads(content), files)
            for file in files:
                os.close(file)
            with suppress(ChildProcessError):  # collect the watchers that have ended
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _watch(request: dict[str, Any], files: list[int]) -> NoReturn:
    """Fork the requested process, and write its id and its exit status to the last file."""
    *files, status = files
    if not (pid := os.fork()):
        os.close(status)
        _become(request, files)
    for file in files:
        os.close(file)
    os.write(status, b"%d\n" % pid)
    os.write(status, b"%d\n" % os.waitpid(pid, 0)[1])
    os._exit(0)


def _become(request: dict[str, Any], files: list[int]) -> NoReturn:
    """Run the requested command and exit as Python does, but without freeing memory."""
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD, 500) for file in files]  # because the old and new numbers may overlap
    for file, number in zip(aside, request["numbers"], strict=True):
        os.dup2(file, number, inheritable=True)
    os.closerange(500, 600)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    code = 0
    try:
        _execute(*request["args"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _execute(first: str, *rest: str) -> None:
    """Run ``-c code ...``, ``-m module ...`` or ``script ...``."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    if first == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        exec(rest[0], vars(main))
        return
    if first == "-m":
        spec = find_spec(rest[0])
        assert spec is not None
        first, rest = str(spec.origin), rest[1:]
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
    sys.argv = [first, *rest]
    main.__file__ = first
    exec(compile(Path(first).read_text(), first, "exec"), vars(main))

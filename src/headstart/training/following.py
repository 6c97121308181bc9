"""Start a rank above 0, which trains on its shares of the batches and writes nothing."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from headstart.devices import processes
from headstart.devices.processes import READY
from headstart.errors import HeadstartError
from headstart.records.names import SETTINGS_FILE


def main(arguments: Sequence[str]) -> int:
    """Run a rank above 0; the arguments are the run directory and the file descriptor for "ready"."""
    directory, answers = Path(arguments[0]), int(arguments[1])
    processes._STARTED_AS[0] = int(os.environ["RANK"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process, but the leader decides
    may_start = threading.Event()
    threading.Thread(target=_listen, args=(may_start,), daemon=True).start()
    gc.disable()  # imports leave no garbage, so a search for it costs time
    from headstart.training.run import follow

    gc.freeze()
    gc.enable()
    may_start.wait()
    config = OmegaConf.load(directory / SETTINGS_FILE)
    assert isinstance(config, DictConfig)
    try:
        follow(config, directory, lambda: os.write(answers, READY))
    except HeadstartError as error:
        print(error, file=sys.stderr)
        return 2
    for worker in multiprocessing.active_children():
        worker.terminate()
    os._exit(0)  # the run waits for this process, and a regular end takes seconds


def _listen(may_start: threading.Event) -> None:
    """Set the event at the leader's signal; when the leader ends, end this process."""
    while os.read(0, 1):
        may_start.set()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

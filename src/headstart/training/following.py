"""Start a rank above 0: it trains with its shares of the batches and writes nothing."""

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
    """A rank above 0: the run directory, and where to say that it is ready."""
    directory, answers = Path(arguments[0]), int(arguments[1])
    processes._STARTED_AS[0] = int(os.environ["RANK"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too, but the leader decides
    told = threading.Event()
    threading.Thread(target=_listen, args=(told,), daemon=True).start()
    gc.disable()  # what imports leave behind all stays, so that searching it for garbage is lost time
    from headstart.training.run import follow

    gc.freeze()
    gc.enable()
    told.wait()
    config = OmegaConf.load(directory / SETTINGS_FILE)
    assert isinstance(config, DictConfig)
    try:
        follow(config, directory, lambda: os.write(answers, READY))
    except HeadstartError as error:
        print(error, file=sys.stderr)
        return 2
    for worker in multiprocessing.active_children():
        worker.terminate()
    os._exit(0)  # the run waits for this; taking an interpreter apart takes seconds


def _listen(told: threading.Event) -> None:
    """Wait for the word to go on, then for the end of whoever gave it."""
    while os.read(0, 1):
        told.set()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Test what a run prints, and its log."""

import logging
from pathlib import Path

import pytest

from headstart.console import show_log


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_log_on_a_full_disk_ends_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    with show_log(Path("/dev/full")):
        logging.getLogger("headstart.training").info("a line")
    said = capsys.readouterr()
    assert "a line" in said.out
    assert not said.err

"""The command as a module."""

import runpy
import sys

import pytest

from headstart import __version__


@pytest.mark.filterwarnings("ignore:'headstart.cli' found in sys.modules")
def test_python_m_is_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["headstart", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("headstart.cli", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == __version__

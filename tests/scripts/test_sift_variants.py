"""Test that the script scores each variant and leaves the reference as it was."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CHECKOUT

from headstart.references import sift_pyramid


def test_a_line_for_each_variant(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({f"{split}/{name}": 3 for split in ("train", "test") for name in ("red", "blue")})
    words = []
    find = sift_pyramid.find_vocabulary
    monkeypatch.setattr(sift_pyramid, "SAMPLED", (2, 900))
    monkeypatch.setattr(
        sift_pyramid, "find_vocabulary", lambda *given: words.append(sift_pyramid.WORDS) or find(*given)
    )
    monkeypatch.setattr("sys.argv", ["sift_variants.py", str(root), "32"])
    runpy.run_path(str(CHECKOUT / "scripts" / "sift_variants.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(words) == 5
    assert lines[1].startswith("200 words: validation ")
    assert words == [400, 200, 400, 200, 400]
    assert sift_pyramid.WORDS == 400
    assert sift_pyramid.REDUCED == (1, 2)

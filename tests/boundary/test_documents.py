"""Test JSON and YAML of strangers: they give plain, printable values or one sentence, in little memory."""

import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headstart.boundary.documents import DEPTH, checked_yaml, parsed_yaml, read_json
from headstart.errors import DataError
from headstart.records.manifest import read_manifest
from headstart.records.settings_file import read_settings
from headstart.tables import plain_text

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
JSONS = {
    "empty": "",
    "half": '{"a": [1, 2',
    "deep list": "[" * 200_000,
    "closed deep list": "[" * 900 + "]" * 900,
    "deep mapping": '{"a":' * 100_000,
    "many values": f"[{'[],' * 2_500_000}[]]",
    "many digits": "9" * 6_000_000,
    "nul": '{"a": "\0"}',
    "words": "nonsense",
}
YAMLS = {
    "deep flow": "[" * 200_000,
    "deep flow mappings": "{a: " * 100_000,
    "deep block": "- " * 100_000,
    "deep keys": "? " * 100_000,
    "closed and deep": "[" * 5000 + "]" * 5000,
    "aliases": BOMB,
    "itself": "a: &a [*a]",
    "tag": "!!python/object/apply:os.mkdir [owned]",
    "a tag that yaml fails at": "a: !!bool word",
    "another": "a: !!timestamp word",
    "directives": "".join(f"%TAG !a{n}! b\n" for n in range(50_000)) + "--- a",
    "sexagesimal": "a: " + "1:" * 400_000 + "1.0",
    "many values": "[" + "a," * 200_000 + "a]",
    "long scalar": "a: " + "x" * 5000,
    "two documents": "a: 1\n---\nb: 2\n",
    "a date that is none": "a: 2001-99-99",
    "half": "a: [1, 2",
    "a key that is a list": "? [1]\n: 2\n",
    "nul": "a: \0",
    "a list": "[1]",
    "a word": "word",
}


def within_limits(read: Any, *arguments: Any) -> Any:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        return read(*arguments)
    finally:
        assert time.monotonic() - start < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024


@pytest.mark.parametrize("content", JSONS.values(), ids=JSONS)
def test_damaged_json(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError, match=r"^run\.json (cannot be read \(.+\)|does not hold a JSON object)$"):
        within_limits(read_manifest, tmp_path)


@pytest.mark.parametrize("content", YAMLS.values(), ids=YAMLS)
def test_damaged_yaml(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(DataError, match=r"^config\.yaml (cannot be read \(.+\)|does not hold a mapping)$"):
        within_limits(read_settings, tmp_path)
    assert not Path("owned").exists()


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    for name, read in (("run.json", read_manifest), ("config.yaml", read_settings)):
        (tmp_path / name).write_text(" " * 9 * 2**20 + "{}")
        with pytest.raises(DataError, match=rf"^{name} cannot be read \(it has 9 MB, and at most \d MB are read\)$"):
            read(tmp_path)


def test_values_that_become_plain(tmp_path: Path) -> None:
    text = r'{"nan": NaN, "much": 1e999, "whole": %s, "odd": "\udce9\ud800\u001b[2J\u0000", "lines": "a\n\tb"}'
    (tmp_path / "run.json").write_text(text % ("9" * 400))
    found = read_manifest(tmp_path)
    assert math.isnan(found.pop("nan"))
    assert found == {"much": math.inf, "whole": math.inf, "odd": r"\xe9\ud800\x1b[2J\x00", "lines": "a\n\tb"}
    (tmp_path / "config.yaml").write_text(f"1: 2\nd: 2001-01-01\nx: 0x{'f' * 4000}\nn: .nan\nnull: {{true: '\\x9b'}}\n")
    settings = read_settings(tmp_path)
    assert math.isnan(settings.pop("n"))
    assert settings == {"1": 2, "d": "2001-01-01", "x": math.inf, "None": {"True": "\\x9b"}}


@given(st.text())
def test_plain_text_can_be_written(text: str) -> None:
    plain = plain_text(text)
    plain.encode()
    assert plain_text(plain) == plain
    assert text.isprintable() <= (plain == text)


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False)
TEXTS = st.text("abc é[]{}:-#'\"\n", max_size=20)


def collections(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(below, max_size=4) | st.dictionaries(st.text("abc", min_size=1), below, max_size=4)


@given(st.recursive(LEAVES | TEXTS, collections, max_leaves=30))
def test_what_a_run_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").write_text(json.dumps({"value": value}))
    assert read_json(folder, "run.json") == {"value": value}
    (folder / "config.yaml").write_text(yaml.safe_dump({"value": value}))
    assert parsed_yaml(checked_yaml(folder, "config.yaml"), "config.yaml") == {"value": value}


def test_depth(tmp_path: Path) -> None:
    for depth, fine in ((DEPTH - 1, True), (DEPTH + 1, False)):
        (tmp_path / "run.json").write_text(json.dumps(nested(depth)))
        (tmp_path / "config.yaml").write_text(json.dumps(nested(depth)))
        for read in (read_manifest, read_settings):
            if fine:
                assert read(tmp_path) == nested(depth)
            else:
                with pytest.raises(DataError, match=f"nested more than {DEPTH} deep"):
                    read(tmp_path)

import sys
from pathlib import Path

import pytest
from own_parts_example import forget, importable, install

from headstart.errors import ConfigError
from headstart.settings.packages import installed_packages, is_there, own_code
from headstart.settings.targets import check_packages, check_targets


def test_the_code_of_a_package_changes_with_any_of_its_files(tmp_path: Path) -> None:
    with importable(install(tmp_path / "site")):
        before = own_code(["own_parts"])
        assert own_code(["own_parts"]) == before
        (tmp_path / "site" / "own_parts" / "more.py").write_text("")
        forget()
        assert own_code(["own_parts"]) != before
        assert "own_parts" not in sys.modules


def test_an_installed_package_may_be_named_but_only_what_it_defines(tmp_path: Path) -> None:
    with importable(install(tmp_path / "site")):
        assert [one.place for one in installed_packages()] == ["own_parts"]
        check_targets({"backbone": {"_target_": "own_parts.backbones.three_convolutions"}})
        check_targets({"dataset": {"_target_": "own_parts.data.Dots"}})
        for name in ("own_parts.data.generator", "own_parts.kinds.np.save", "own_parts.backbones.torch.load"):
            with pytest.raises(ConfigError, match="this is none of them"):
                check_targets({"dataset": {"_target_": name}})
    with pytest.raises(ConfigError, match="if you trust this one, add --trust own_parts"):
        check_packages({"dataset": {"_target_": "own_parts.data.Dots"}})


def test_a_module_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"strategy": {"_target_": "my_own.Mime"}}
    with pytest.raises(ConfigError, match=r"no module 'my_own'; .* put PYTHONPATH=\. before the command"):
        check_packages(parts, ["my_own"])
    assert not is_there("my_own")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "my_own.py"
    for text, said in (
        ("class Mine:\n    pass\n", r"my_own has no 'Mime'\. Did you mean 'Mine'\?"),
        (
            "\nimport gone_for_good\n",
            r"No module named 'gone_for_good' \(line 2 of .*my_own\.py: import",
        ),
        ("def broken(:\n", r"SyntaxError: invalid syntax \(line 1 of .*my_own\.py: def broken\(:\)"),
    ):
        file.write_text(text)
        sys.modules.pop("my_own", None)
        sys.path_importer_cache.clear()
        with pytest.raises(ConfigError, match=said):
            check_targets(parts, ["my_own"])
    sys.modules.pop("my_own", None)

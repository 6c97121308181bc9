"""Test that the package is quick to import, and that every public name exists."""

from conftest import answer_of

from headstart import statistics


def test_importing_loads_no_heavy_library() -> None:
    code = (
        "import sys, headstart.statistics as s\n"
        "names = {'scipy.stats', 'statsmodels', 'scikit_posthocs', 'torch'}\n"
        "print(sorted(names & set(sys.modules)))\n"
        "s.paired_both([[1, 0, 1], [1, 1, 0]], [[0, 0, 1], [1, 0, 0]])\n"
        "s.sample_needed(s.paired_runs([1, 2, 4], [0, 0, 1])); s.bonferroni([0.1, 0.2]); s.bootstrap_mean([1, 2, 4])\n"
        "print(sorted(names & set(sys.modules)))\n"
    )
    assert answer_of(code).splitlines() == ["[]", "[]"]


def test_public_names() -> None:
    assert all(hasattr(statistics, name) for name in statistics.__all__)

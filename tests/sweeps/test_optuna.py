"""Test searches: the number of trials, pruning by validation, and bit-equal resumes after a kill."""

import json
import math
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml
from conftest import SMALLEST, TINY, runs_below
from forking import Server
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from headstart.cli import main
from headstart.errors import ConfigError, Pruned
from headstart.kinds import KINDS, Metric
from headstart.kinds.classification import ACCURACY
from headstart.kinds.regression import MAE, NumberKind
from headstart.records.outcomes import JobOutcome, write_outcome
from headstart.settings.identity import config_hash
from headstart.sweeps import trials
from headstart.training.pruning import Pruning, pruning_callbacks

COMMAND = "import sys; from headstart.cli import main; sys.exit(main(sys.argv[1:]))"
SETTINGS: dict[str, Any] = {
    "n_trials": 6,
    "n_jobs": 1,
    "sampler": "tpe",
    "pruner": "none",
    "seed": 0,
    "study_name": "s",
    "storage": None,
    "sampler_options": {},
    "pruner_options": {},
}
LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


def parsed(*arguments: str) -> trials.Space:
    return trials.parse_space(OverridesParser.create().parse_overrides(list(arguments)))


class Bench:
    """A sweeper whose jobs are a function of their number and settings; it can be killed before a job."""

    def __init__(
        self, folder: Path, score: Any, kill_at: int | None = None, kinds: tuple[str, ...] = ("classification",)
    ) -> None:
        self.kinds = kinds
        self.config = OmegaConf.create(
            {"hydra": {"sweep": {"dir": str(folder)}, "launcher": {"_target_": "BasicLauncher"}}}
        )
        self.hydra_context = SimpleNamespace(config_loader=None)
        self.launcher, self.score, self.kill_at = self, score, kill_at
        self.ran: list[tuple[str, ...]] = []
        self.data = "1234"

    def check(self, batch: Any) -> None:
        assert batch

    def metrics(self, batch: Any) -> list[Metric]:
        return [KINDS[kind].primary for kind in self.kinds]

    def data_hashes(self, batch: Any) -> list[str]:
        return [self.data]

    def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        returned = []
        for settings in jobs:
            if len(self.ran) == self.kill_at:
                raise KeyboardInterrupt
            assert settings[-1].startswith("++sweep.trial={number:")
            self.ran.append(tuple(settings[:-1]))
            told = JobReturn()
            told.status, told.return_value = JobStatus.COMPLETED, self.score(settings)
            returned.append(told)
        return returned


def by_lr(settings: list[str]) -> float:
    return 1 - float(next(s for s in settings if s.startswith("optimizer.lr=")).split("=")[1])


def search(bench: Bench, *arguments: str, **changes: Any) -> optuna.Study:
    trials.search(bench, SETTINGS | changes, arguments)
    return study_in(Path(bench.config.hydra.sweep.dir))


def study_in(folder: Path, name: str = "s") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=trials.open_storage(str(folder / "study.journal")))


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("a=interval(0.1,2)", FloatDistribution(0.1, 2.0)),
        ("a=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("a=int(interval(1,8))", IntDistribution(1, 8)),
        ("a=range(1,6,2)", IntDistribution(1, 5, step=2)),
        ("a=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("a=x,y,x", CategoricalDistribution(["x", "y"])),
        ("a=choice(x,[1,2])", CategoricalDistribution(["x", "[1,2]"])),
    ],
)
def test_the_syntax_of_hydra_is_the_search_space(argument: str, expected: object) -> None:
    space = parsed("b=1", argument, "~c")
    assert space.searched == {"a": expected}
    assert space.fixed["b"] == "1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a=1"], "no setting has several values"),
        (["a=1,2", "a=3"], "no setting has several values"),
        (["seed=0,1"], "seed=0,1: .* a lucky value"),
        (["seeds.head=range(0,3)"], "lucky value"),
        (["dataset.fold=0,1"], "lucky value"),
        (["a=tag(log,interval(0,1))"], "above 0 on a log scale"),
        (["a=interval(2,1)"], "the lower end first"),
        (["a=tag(odd,interval(1,2))"], "only the tag log"),
        (["a=tag(log,range(1,9))"], "only the tag log"),
    ],
)
def test_what_is_no_search_is_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parsed(*arguments)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sampler": "tpee"}, "There is no sampler 'tpee'. Did you mean 'tpe'"),
        ({"pruner": "mean"}, "There is no pruner 'mean'."),
        ({"n_trials": 0}, "n_trials=0: expected a whole number above 0"),
        ({"n_trials": True}, "n_trials=True: expected a whole number above 0"),
        ({"n_jobs": True}, "n_jobs=True: expected a whole number above 0"),
        ({"seed": True}, "seed=True: expected a whole number"),
        ({"sampler_options": {"startups": 1}}, "sampler_options of tpe: .*startups"),
        ({"pruner": "median", "pruner_options": {"n_warmup_steps": -1}}, "pruner_options of median: "),
        ({"sampler": "grid"}, "grid: optimizer.lr has infinitely many values"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        search(Bench(tmp_path, by_lr), LR, **changes)


def test_finished_and_failed_trials_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = iter([0.5, float("nan"), None, 0.75, 0.25, float("inf")])
    study = search(Bench(tmp_path, lambda settings: next(outcomes)), LR)
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert [trial.state for trial in study.trials] == [complete, fail, fail, complete, complete, fail]
    told = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert told["best_value"] == 0.75
    assert told["best_trial"] == 3
    assert told["best_params"] == study.trials[3].params
    assert told["trials"] == {"finished": 3, "pruned": 0, "failed": 3}
    assert "the best is trial 3, validation accuracy 75.0 %" in capsys.readouterr().out


def test_ties_go_to_the_lower_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench, losses = Bench(tmp_path, lambda settings: 0.5), [math.nan, 0.4, 0.2, 0.2]
    launch = bench.launch

    def leave(jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        run = tmp_path / f"run{initial_job_idx}"
        run.mkdir()
        (run / "run.json").write_text(json.dumps({"metrics": {"validation/loss": losses[initial_job_idx]}}))
        write_outcome(tmp_path, JobOutcome(initial_job_idx, tuple(jobs[0]), "finished", str(run)))
        return launch(jobs, initial_job_idx)

    bench.launch = leave  # type: ignore[method-assign]
    search(bench, LR, n_trials=4)
    told = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert (told["best_trial"], told["best_run"]) == (2, str(tmp_path / "run2"))
    assert "the best is trial 2, validation accuracy 50.0 %" in capsys.readouterr().out


def test_an_error_is_minimised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NumberKind, "primary", MAE)
    study = search(Bench(tmp_path, by_lr, kinds=("regression",)), LR)
    assert study.direction.name == "MINIMIZE"
    said = capsys.readouterr().out
    best = study.best_trial
    assert best.value == min(trial.value for trial in study.trials if trial.value is not None)
    assert f"the best is trial {best.number}, validation mae {best.value:.3f}: " in said
    assert yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())["best_value"] == best.value
    with pytest.raises(ConfigError, match="was made with other values of task"):
        search(Bench(tmp_path, by_lr), LR)


def test_ties_of_errors_go_to_the_lower_loss() -> None:
    def trial(number: int, value: float, loss: float) -> Any:
        made = optuna.trial.create_trial(value=value, user_attrs={trials.LOSS: loss})
        made.number = number
        return made

    tried = [trial(0, 0.9, 0.1), trial(1, 0.5, 0.4), trial(2, 0.5, 0.2), trial(3, 0.5, 0.2)]
    assert trials.best_trial(tried, MAE).number == 2
    assert trials.best_trial(tried, KINDS["classification"].primary).number == 0


def test_a_search_has_one_metric(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"by one metric, not by several \(accuracy, R²\)"):
        search(Bench(tmp_path, by_lr, kinds=("classification", "regression")), LR)


@pytest.mark.parametrize("kill_at", [0, 1, 4])
@pytest.mark.parametrize(("sampler", "options"), [("tpe", {"n_startup_trials": 2}), ("random", {}), ("grid", {})])
def test_a_search_that_was_stopped_ends_like_one_that_was_not(
    kill_at: int, sampler: str, options: dict[str, Any], tmp_path: Path
) -> None:
    lr = "optimizer.lr=0.1,0.01,0.001" if sampler == "grid" else LR
    arguments = (lr, "strategy=a,b", "trainer.max_epochs=2")
    how = {"sampler": sampler, "sampler_options": options}
    whole = Bench(tmp_path / "whole", by_lr)
    expected = search(whole, *arguments, **how)
    first, second = Bench(tmp_path / "cut", by_lr, kill_at), Bench(tmp_path / "cut", by_lr)
    with pytest.raises(KeyboardInterrupt):
        search(first, *arguments, **how)
    study = search(second, *arguments, **how)
    assert [(t.number, t.params, t.value) for t in study.trials] == [
        (t.number, t.params, t.value) for t in expected.trials
    ]
    assert Counter(first.ran + second.ran) == Counter(whole.ran)  # none twice
    assert len(set(whole.ran)) == 6
    again = Bench(tmp_path / "cut", by_lr)
    search(again, *arguments, **how)
    assert again.ran == []


def test_more_trials_may_be_asked_for_later(tmp_path: Path) -> None:
    expected = search(Bench(tmp_path / "at once", by_lr), LR, n_trials=9)
    search(Bench(tmp_path / "later", by_lr), LR, n_trials=4)
    study = search(Bench(tmp_path / "later", by_lr), LR, n_trials=9)
    assert [t.params for t in study.trials] == [t.params for t in expected.trials]


def test_a_study_is_not_continued_with_other_settings(tmp_path: Path) -> None:
    search(Bench(tmp_path, by_lr), LR, "strategy=a", "output_dir=x", n_trials=2)
    search(Bench(tmp_path, by_lr), LR, "strategy=a", "output_dir=y", n_trials=3)  # where runs go bears on nothing
    with pytest.raises(ConfigError, match="made with other values of strategy: "):
        search(Bench(tmp_path, by_lr), LR, "strategy=b")


def test_a_study_is_not_continued_on_other_data(tmp_path: Path) -> None:
    bench = Bench(tmp_path, by_lr)
    search(bench, LR, n_trials=2)
    bench.data = "5678"
    with pytest.raises(ConfigError, match="made with other values of the data: "):
        search(bench, LR, n_trials=3)
    assert len(bench.ran) == 2


def test_trials_at_once_go_to_the_launcher_together(tmp_path: Path) -> None:
    bench, sizes = Bench(tmp_path, by_lr), []
    launch = bench.launch
    bench.launch = lambda jobs, initial_job_idx: sizes.append(len(jobs)) or launch(jobs, initial_job_idx)  # type: ignore
    study = search(bench, LR, n_jobs=4)
    assert sizes == [4, 2]
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 6


def test_a_truncated_journal_is_repaired(tmp_path: Path) -> None:
    search(Bench(tmp_path, by_lr), LR, n_trials=2)
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "wor')
    trials.mend_journal(journal)
    assert journal.read_bytes() == whole


def test_a_journal_that_has_moved_is_not_waited_for(tmp_path: Path) -> None:
    """The lock of a moved journal is a link to its old place."""
    search(Bench(tmp_path, by_lr), LR, n_trials=1)
    journal = tmp_path / "study.journal"
    Path(f"{journal}.lock").symlink_to(tmp_path / "gone.journal")
    trials.mend_journal(journal)
    assert not Path(f"{journal}.lock").is_symlink()
    assert len(study_in(tmp_path).trials) == 1


def test_the_trial_is_no_part_of_what_a_run_is() -> None:
    config = {"optimizer": {"lr": 0.1}}
    assert config_hash(config) == config_hash(config | {"sweep": {"trial": {"number": 3}}})


def test_a_run_outside_a_search_is_not_pruned() -> None:
    assert pruning_callbacks(None, ACCURACY) == pruning_callbacks({"trial": None}, ACCURACY) == []


def epochs(callback: Pruning, accuracies: list[float], start: int = 0) -> int:
    """Train with these values of the watched metric; return the number of epochs trained."""
    monitor = callback.monitor
    for epoch, accuracy in enumerate(accuracies, start):
        trainer: Any = SimpleNamespace(sanity_checking=False, current_epoch=epoch, callback_metrics={monitor: accuracy})
        if epoch:
            trainer.callback_metrics = {monitor: accuracies[epoch - start - 1]}
        callback.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        trainer.callback_metrics = {monitor: accuracy}
        callback.on_validation_end(trainer, None)  # type: ignore[arg-type]
    return start + len(accuracies)


def test_a_trial_behind_the_median_is_pruned_before_its_next_epoch(tmp_path: Path) -> None:
    storage = str(tmp_path / "j")
    study = optuna.create_study(study_name="s", storage=trials.open_storage(storage), direction="maximize")
    study.set_user_attr("pruner", ["median", {"n_startup_trials": 2}])
    for _ in range(3):
        study.ask()
    for number in range(2):
        assert epochs(Pruning(number, "s", storage, ACCURACY), [0.5, 0.6, 0.7]) == 3
        study.tell(number, 0.7)
    with pytest.raises(Pruned, match=r"after epoch 2: validation accuracy 30\.0 %"):
        epochs(Pruning(2, "s", storage, ACCURACY), [0.55, 0.3, 0.9])
    told = optuna.load_study(study_name="s", storage=trials.open_storage(storage))
    assert told.trials[2].state == TrialState.PRUNED
    assert told.trials[2].intermediate_values == {0: 0.55, 1: 0.3}


def test_a_larger_error_than_the_median_is_pruned(tmp_path: Path) -> None:
    storage = str(tmp_path / "j")
    study = optuna.create_study(study_name="s", storage=trials.open_storage(storage), direction=MAE.direction)
    study.set_user_attr("pruner", ["median", {"n_startup_trials": 2}])
    for _ in range(4):
        study.ask()
    for number in range(2):
        assert epochs(Pruning(number, "s", storage, MAE), [5.0, 4.0, 3.0]) == 3
        study.tell(number, 3.0)
    assert epochs(Pruning(2, "s", storage, MAE), [4.5, 3.0, 2.0]) == 3
    with pytest.raises(Pruned, match=r"after epoch 2: validation mae 7\.00"):
        epochs(Pruning(3, "s", storage, MAE), [5.0, 7.0, 1.0])


def test_a_resumed_run_continues_to_report(tmp_path: Path) -> None:
    storage = str(tmp_path / "j")
    study = optuna.create_study(study_name="s", storage=trials.open_storage(storage), direction="maximize")
    study.set_user_attr("pruner", ["none", {}])
    study.ask()
    epochs(Pruning(0, "s", storage, ACCURACY), [0.1, 0.2])
    epochs(Pruning(0, "s", storage, ACCURACY), [0.2, 0.3], start=1)
    assert study.trials[0].intermediate_values == {0: 0.1, 1: 0.2, 2: 0.3}


def test_a_resumed_pruned_run_is_pruned_again(tmp_path: Path) -> None:
    """The kill comes after the report to the study and before run.json; this process validates nothing."""
    storage = str(tmp_path / "j")
    study = optuna.create_study(study_name="s", storage=trials.open_storage(storage), direction="maximize")
    study.set_user_attr("pruner", ["threshold", {"lower": 0.5}])
    fresh: Any = SimpleNamespace(sanity_checking=False, current_epoch=2, callback_metrics={})
    for _ in range(2):
        study.ask()
    epochs(Pruning(0, "s", storage, ACCURACY), [0.6])
    Pruning(0, "s", storage, ACCURACY).trial.report(0.4, 1)
    for _ in range(3):
        with pytest.raises(Pruned, match=r"after epoch 2: validation accuracy 40\.0 %"):
            Pruning(0, "s", storage, ACCURACY).on_train_epoch_start(fresh, None)  # type: ignore[arg-type]
    study.tell(1, 0.7)
    assert (
        epochs(Pruning(1, "s", storage, ACCURACY), [0.1, 0.1]) == 2
    )  # it has finished: nothing is told, nothing pruned
    assert study.trials[1].intermediate_values == {}


def test_a_search_that_is_complete_has_nothing_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = ["train", "-m", "hydra/sweeper=optuna", LR, *TINY, *SMALLEST, "debug=fast", "output_dir=o"]
    for n_trials, told in ((1, "1 run: 1 finished"), (2, "1 run: 1 finished"), (2, "0 runs: nothing was left to do")):
        assert main([*search, f"hydra.sweeper.n_trials={n_trials}"]) == 0
        said = capsys.readouterr().out
        assert told in said
        assert not re.search(r"test accuracy [\d.]", said), "a search shows nothing of test"
        begun, ended = (
            set(re.findall(rf"^{start}trial (\d+): optimizer", said, re.M)) for start in ("headstart: ", "")
        )
        assert begun == ended == ({str(n_trials - 1)} if told.startswith("1") else set()), "one number a trial"
        best = yaml.safe_load(next(Path("o").glob("*/optimization_results.yaml")).read_text())
        assert f"for its test accuracy, after all choices are made: headstart report {best['best_run']}" in said
        assert json.loads((Path(best["best_run"]) / "run.json").read_text())["status"] == "finished"
        (sweep,) = Path("o").glob("*/sweep.json")
        assert json.loads(sweep.read_text())["jobs"] == n_trials
        assert main(["status", "o"]) == 0
        said = capsys.readouterr().out
        assert f"{n_trials} jobs" in said or n_trials == 1
        assert "%" not in said
        assert "left" not in said


def test_a_wrong_search_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *TINY, "hydra/sweeper=optuna", "strategy=head_only,scratchh", "hydra.sweep.dir=s"]) == 2
    assert "There is no strategy 'scratchh'. Did you mean 'scratch'?" in capsys.readouterr().err
    assert not Path("s").exists()


@pytest.mark.slow
def test_a_search_that_is_killed_and_started_again(warm: Server) -> None:
    """The pruner ends head_only after its first epoch; linear_probe has no epochs, and finishes."""
    command = [
        sys.executable, "-c", COMMAND, "train", "-m", *TINY, *SMALLEST, "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=6",
        "hydra.sweeper.pruner=threshold", "+hydra.sweeper.pruner_options.lower=2", "hydra.sweep.dir=search",
        "strategy=head_only,linear_probe", LR, "trainer.max_epochs=3",
    ]  # fmt: skip
    with Path(os.devnull).open("w") as nowhere:
        first = warm.popen(command, stdout=nowhere, stderr=nowhere)
    end = time.monotonic() + 120
    while sum(run["status"] != "running" for run in runs_below(Path("search"))) < 3:
        assert time.monotonic() < end
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    before = [trial for trial in study_in(Path("search"), "headstart").trials if trial.state.is_finished()]
    assert 0 < len(before) < 6
    done = warm.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    study = study_in(Path("search"), "headstart")
    assert len(study.trials) == 6
    for trial in study.trials:
        pruned = trial.params["strategy"] == "head_only"
        assert trial.state == (TrialState.PRUNED if pruned else TrialState.COMPLETE)
    assert study.trials[: len(before)] == before
    runs = [run for run in runs_below(Path("search")) if run["status"] != "running"]
    ends = Counter((run["strategy"], run["status"], (run["error"] or {}).get("type")) for run in runs)
    assert set(ends) == {("head_only", "pruned", "Pruned"), ("linear_probe", "finished", None)}
    numbers = [
        json.loads(override.split("number:")[1].split(",")[0])
        for run in runs
        for override in run["provenance"]["overrides"]
        if override.startswith("++sweep.trial=")
    ]
    assert all(numbers.count(trial.number) == 1 for trial in before)  # none of them ran again
    assert set(numbers) == set(range(6))

"""Stand-ins for wandb, mlflow and trackio: the calls that headstart makes, with the names and defaults of the packages.

``tests/trackers/test_real_trackers.py`` makes the same calls to the packages themselves, where they are installed.
"""

import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@dataclass
class Record:
    """What a tracker holds of a run."""

    name: str
    group: str
    settings: dict[str, Any]
    status: str = "running"
    points: list[tuple[str, int, float]] = field(default_factory=list)  # name, epoch, value
    images: list[str] = field(default_factory=list)


class FakeTrackers:
    """The records of the three packages by id, and whether their calls fail."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Record]] = {"wandb": {}, "mlflow": {}, "trackio": {}}
        self.broken = self.offline_only = False
        self.modes: list[str | None] = []
        self.calls = 0

    def check(self) -> None:
        self.calls += 1
        if self.broken:
            raise ConnectionError("the server is gone.\nmore lines")


def _wandb(fake: FakeTrackers) -> dict[str, ModuleType]:
    records = fake.records["wandb"]

    class Run:
        def __init__(self, record: str, offline: bool) -> None:
            self.id, self.offline, self.url, self.step = record, offline, "https://server/run", 0
            self.summary: dict[str, Any] = {}

        def define_metric(self, name: str, step_metric: str) -> None:
            assert (name, step_metric) == ("*", "epoch")

        def log(self, data: dict[str, Any], step: int) -> None:
            fake.check()
            assert step >= self.step  # W&B drops earlier steps
            self.step = step
            record = records[self.id]
            record.images += [name for name, value in data.items() if isinstance(value, Image)]
            numbers = {name: value for name, value in data.items() if not isinstance(value, Image)}
            epoch = numbers.pop("epoch", None)
            record.points += [(name, epoch, value) for name, value in numbers.items()]

        def finish(self, exit_code: int) -> None:
            assert (exit_code == 0) == (self.summary["status"] in ("finished", "pruned"))
            records[self.id].status = self.summary["status"]

    class Image:
        def __init__(self, data: Any) -> None:
            assert data.ndim == 3

    def init(*, id: str, name: str, group: str, config: dict[str, Any], mode: str | None, **others: Any) -> Run:
        assert others.keys() == {"project", "resume", "reinit", "dir", "settings"}
        fake.modes.append(mode)
        if fake.offline_only and mode != "offline":
            raise ConnectionError("no answer")
        fake.check()
        records.setdefault(id, Record(name, group, config)).status = "running"
        return Run(id, mode == "offline")

    wandb: Any = ModuleType("wandb")
    wandb.init, wandb.Image, wandb.Settings = init, Image, lambda **settings: settings
    wandb.setup = lambda: SimpleNamespace(settings=SimpleNamespace(base_url="https://api.wandb.ai"))
    return {"wandb": wandb}


def _mlflow(fake: FakeTrackers) -> dict[str, ModuleType]:
    records = fake.records["mlflow"]
    experiments: dict[str, str] = {}

    class Client:
        def __init__(self, uri: str) -> None:
            self.uri = uri

        def get_experiment_by_name(self, name: str) -> Any:
            fake.check()
            return SimpleNamespace(experiment_id=experiments[name]) if name in experiments else None

        def create_experiment(self, name: str, artifact_location: str | None) -> str:
            return experiments.setdefault(name, str(len(experiments)))

        def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
            identity = f"run{len(records)}"
            records[identity] = Record(run_name, tags["group"], {})
            return SimpleNamespace(info=SimpleNamespace(run_id=identity))

        def update_run(self, run: str, status: str) -> None:
            records[run].status = status.lower()

        def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
            fake.check()
            assert len(params) <= 100
            records[run].settings.update((one.key, one.value) for one in params)
            records[run].points += [(one.key, one.step, one.value) for one in metrics]

        def log_image(self, run: str, image: Any, artifact_file: str) -> None:
            fake.check()
            records[run].images.append(artifact_file.removesuffix(".png"))

        def set_tag(self, run: str, key: str, value: str) -> None:
            assert key == "status"
            self.status = value

        def set_terminated(self, run: str, status: str) -> None:
            known = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "pruned": "KILLED"}
            assert status == known[self.status]
            records[run].status = self.status

    def metric(key: str, value: float, timestamp: int, step: int) -> Any:
        return SimpleNamespace(key=key, value=value, step=step)

    mlflow, entities, tracking = (ModuleType(name) for name in ("mlflow", "mlflow.entities", "mlflow.tracking"))
    entities.Metric, entities.Param = metric, lambda key, value: SimpleNamespace(key=key, value=value)  # type: ignore[attr-defined]
    tracking.MlflowClient = Client  # type: ignore[attr-defined]
    return {"mlflow": mlflow, "mlflow.entities": entities, "mlflow.tracking": tracking}


def _trackio(fake: FakeTrackers) -> dict[str, ModuleType]:
    records = fake.records["trackio"]
    opened: list[Any] = []

    class Run:
        def __init__(self, name: str) -> None:
            self.record, self.alerts = records[name], list[str]()

        def log(self, metrics: dict[str, Any], step: int) -> None:
            fake.check()
            self.record.images += [name for name, value in metrics.items() if isinstance(value, Image)]
            self.record.points += [(k, step, value) for k, value in metrics.items() if not isinstance(value, Image)]

        def alert(self, title: str, level: str) -> None:
            self.alerts.append(title.removeprefix("the run is "))

    class Image:
        def __init__(self, value: Any) -> None:
            assert value.ndim == 3

    def init(project: str, *, name: str, group: str, config: dict[str, Any], resume: str, **others: Any) -> Run:
        assert others == {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}
        fake.check()
        assert (name in records) == (resume == "allow")
        records.setdefault(name, Record(name, group, config)).status = "running"
        opened.append(Run(name))
        return opened[-1]

    def finish() -> None:
        run = opened.pop()
        run.record.status = run.alerts[0] if run.alerts else "finished"

    trackio: Any = ModuleType("trackio")
    trackio.init, trackio.finish, trackio.Image = init, finish, Image
    trackio.AlertLevel = SimpleNamespace(ERROR="error")
    return {"trackio": trackio}


@pytest.fixture
def trackers(monkeypatch: pytest.MonkeyPatch) -> FakeTrackers:
    """Put the stand-ins in the place of the packages, without keys and servers of this machine."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/none")
    fake = FakeTrackers()
    for name, module in (_wandb(fake) | _mlflow(fake) | _trackio(fake)).items():
        module.__spec__ = ModuleSpec(name, None, origin="fake")
        monkeypatch.setitem(sys.modules, name, module)
    return fake

"""Several outputs: each is as in a run of its own; losses add up; one metric decides."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALLEST, runs_below
from made_lists import list_of_several
from torch import Tensor, nn

from headstart.cli import main
from headstart.kinds import SeveralKind, kind_of
from headstart.kinds.several_predictions import SeveralPredictions
from headstart.records.predictions import read_predictions
from headstart.solvers.features import Features
from headstart.solvers.probe import ignore
from headstart.solvers.ridge import fit_ridge
from headstart.tasks import Classification, EpochScores, Multilabel, Regression, Several
from headstart.tasks.several import fit_parts, learned_weights

COMMON = [
    "train", "dataset=csv", "dataset.root=images/list.csv", "task=several", "dataset.image_size=32",
    "dataset.num_workers=0", "backbone.weights=null", "trainer.accelerator=cpu", "output_dir=runs", *SMALLEST,
]  # fmt: skip
COLOUR = "colour: {kind: classification, column: label}"
LIGHT = "light: {kind: regression, columns: [light, dark]}"
TAGS = "tags: {kind: multilabel, column: labels}"
PARTS: dict[str, dict[str, Any]] = {
    "species": {"kind": "classification", "column": "label", "label_smoothing": 0.1},
    "box": {"kind": "regression", "columns": ["x", "y"], "loss": "huber"},
    "tags": {"kind": "multilabel", "column": "labels"},
}
NUMBERS = {"mean": [3.0, -1.0], "deviation": [2.0, 0.5], "low": [0.0, -3.0], "high": [6.0, 1.0]}
GIVEN: dict[str, dict[str, Any]] = {"species": {"num_classes": 3}, "box": NUMBERS, "tags": {"num_labels": 4}}
ALONE: dict[str, Any] = {
    "species": Classification(3, label_smoothing=0.1),
    "box": Regression(**NUMBERS, loss="huber"),
    "tags": Multilabel(4),
}


def several(*names: str, **settings: Any) -> Several:
    """Return the task with these outputs, or with all."""
    names = names or tuple(PARTS)
    parts = {name: PARTS[name] for name in names}
    return Several(parts, given={name: GIVEN[name] for name in names}, **settings)


def made(count: int = 40) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return features, the targets of each output, and the targets side by side."""
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(count, 6, generator=rng)
    targets = {
        "species": torch.randint(3, (count,), generator=rng),
        "box": torch.stack([3 + 2 * values[:, 0], -1 + values[:, 1]], 1).double() + 0.1,
        "tags": (values[:, :4] > 0.3).float(),
    }
    return values, targets, torch.cat([of.reshape(count, -1).double() for of in targets.values()], dim=1)


def gradients(loss: Tensor, head: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [one for one in head.parameters() if one.requires_grad]))


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("soft", [False, True])
def test_an_output_alone_has_the_loss_and_the_gradient_of_its_task(name: str, soft: bool) -> None:
    values, targets, _ = made()
    task, alone = several(name), ALONE[name]
    head, own = task.make_head(6, 0), alone.make_head(6, 0)
    joined = targets[name].reshape(len(values), -1).double()
    mixed, mixed_own = (task.soft(joined), alone.soft(targets[name])) if soft else (joined, targets[name])
    outputs, expected = head(values), own(values)
    assert torch.equal(outputs, expected)
    loss, theirs = task.loss(outputs, mixed, training=True), alone.loss(expected, mixed_own, training=True)
    assert torch.equal(loss, theirs)
    for a, b in zip(gradients(loss, head), gradients(theirs, own), strict=True):
        assert torch.equal(a, b)
    assert task.primary == alone.primary
    assert (
        task.score(outputs.detach(), joined)[alone.primary]
        == alone.score(expected.detach(), targets[name])[alone.primary]
    )


def test_losses_add_up_by_their_weights() -> None:
    values, targets, joined = made()
    task = several(weights={"box": 0.25, "tags": 3})
    head = task.make_head(6, 1)
    each = {name: alone.loss(alone.make_head(6, 1)(values), targets[name], True) for name, alone in ALONE.items()}
    loss = task.loss(head(values), joined, training=True)
    assert float(loss) == pytest.approx(float(each["species"] + 0.25 * each["box"] + 3 * each["tags"]), rel=1e-6)
    mixed = task.soft(joined)
    assert mixed.shape == (40, 3 + 2 + 4)
    assert float(task.loss(head(values), mixed, True)) == pytest.approx(float(loss), rel=1e-6)


def test_learned_weights_are_those_of_kendall() -> None:
    values, targets, joined = made()
    parts = {**PARTS, "box": {**PARTS["box"], "loss": "mse"}}
    task = Several(parts, "uncertainty", "box", given=GIVEN)
    head: Any = task.make_head(6, 0)
    assert learned_weights(task, head) == {"species": 1, "box": 0.5, "tags": 1}
    logs = torch.tensor([0.3, -0.7, 1.1])
    with torch.no_grad():
        head.log_variances.copy_(logs)
    alone = {**ALONE, "box": Regression(**NUMBERS)}
    losses = [float(one.loss(one.make_head(6, 0)(values), targets[name], True)) for name, one in alone.items()]
    factors = (1, 0.5, 1)
    expected = sum(f * math.exp(-s) * of + s / 2 for f, s, of in zip(factors, logs.tolist(), losses, strict=True))
    loss = task.loss(head(values), joined, training=True)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    (slope,) = torch.autograd.grad(loss, [head.log_variances])
    slopes = [0.5 - f * math.exp(-s) * of for f, s, of in zip(factors, logs.tolist(), losses, strict=True)]
    np.testing.assert_allclose(slope.numpy(), slopes, rtol=1e-4)
    plain = sum(float(one.loss(one.make_head(6, 0)(values), targets[name])) for name, one in alone.items())
    assert float(task.loss(head(values), joined)) == pytest.approx(plain, rel=1e-6)


def test_an_epoch_has_the_metric_of_each_output() -> None:
    values, targets, joined = made()
    task = several(primary="tags")
    outputs = task.make_head(6, 0)(values).detach()
    scores = EpochScores(task)
    for rows in (slice(0, 25), slice(25, 40)):
        scores.update(outputs[rows], joined[rows], task.loss(outputs[rows], joined[rows]))
    found = {name: float(value) for name, value in scores.compute().items()}
    own = {name: one.score(one.make_head(6, 0)(values), targets[name]) for name, one in ALONE.items()}
    assert found["map"] == found["tags/map"] == pytest.approx(own["tags"]["map"])
    assert found["species/accuracy"] == pytest.approx(own["species"]["accuracy"])
    assert found["box/r2"] == pytest.approx(own["box"]["r2"], rel=1e-5)


def test_views_are_averaged_and_compared_by_output() -> None:
    values, _, _ = made()
    parts = {**PARTS, "box": {**PARTS["box"], "loss": "bins", "bins": 5}}
    task = Several(parts, "uncertainty", given=GIVEN)
    head = task.make_head(6, 0)
    outputs = torch.stack([head(values), head(-values)])
    assert outputs.shape == (2, 40, 3 + 2 + 4 + 2 * 5 + 3)
    mean = task.mean_over_views(outputs)
    assert mean.shape == outputs.shape[1:]
    torch.testing.assert_close(mean[:, :3], ALONE["species"].mean_over_views(outputs[:, :, :3]))
    torch.testing.assert_close(mean[:, 3:5], outputs[:, :, 3:5].mean(0))
    same = torch.stack([outputs[0], outputs[0]])
    assert float(task.spread_over_views(same)) == pytest.approx(0, abs=1e-6)
    assert float(task.spread_over_views(outputs)) > 0.01


def test_ridge_solves_for_each_output_as_alone() -> None:
    values, targets, joined = made(80)
    train, validation = Features(values[:50], joined[:50]), Features(values[50:], joined[50:])
    rows: list[dict[str, float]] = []
    strengths = [10.0, 1.0, 0.1]
    whole, each = fit_parts(
        several(),
        lambda task, train, validation, on_row: fit_ridge(train, validation, task, strengths, on_row),
        train,
        validation,
        lambda number, row: rows.append(row),
    )
    singles = [
        fit_ridge(Features(values[:50], of[:50]), Features(values[50:], of[50:]), ALONE[name], strengths, ignore)
        for name, of in targets.items()
    ]
    assert torch.equal(whole.weight, torch.cat([one.weight for one in singles]))
    assert torch.equal(whole.bias, torch.cat([one.bias for one in singles]))
    assert [one.scores["l2"] for one in each.values()] == [one.scores["l2"] for one in singles]
    assert whole.scores["validation/accuracy"] == singles[0].scores["validation/accuracy"]
    assert [row["l2"] for row in rows] == strengths
    assert rows[0].keys() >= {"train/loss", "validation/accuracy", "validation/box/r2", "validation/tags/map"}


def test_neighbours_give_each_output_as_alone() -> None:
    values, targets, joined = made()
    head = several().make_neighbours(values[:30], joined[:30], 5, 0.1)
    alone = [ALONE[name].make_neighbours(values[:30], of[:30], 5, 0.1)(values[30:]) for name, of in targets.items()]
    torch.testing.assert_close(head(values[30:]), torch.cat(alone, dim=1).to(head(values[30:]).dtype))


def test_a_callback_watches_the_metric_of_an_output() -> None:
    list_of_several(60)
    stops = ["callbacks=early_stopping", "callbacks.early_stopping.monitor=validation/light/r2"]
    stops += ["callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=1e6"]
    parts = f"task.parts={{{COLOUR}, {LIGHT}}}"
    assert main([*COMMON, parts, "strategy=head_only", "trainer.max_epochs=3", *stops]) == 0
    (metrics,) = Path("runs").rglob("metrics.csv")
    assert len(metrics.read_text().splitlines()) == 3  # a header and two epochs


def test_predictions_come_back_from_their_file(tmp_path: Path) -> None:
    list_of_several(60)
    assert main([*COMMON, f"task.parts={{{COLOUR}, {LIGHT}, {TAGS}}}", "strategy=ridge", "task.primary=light"]) == 0
    (run,) = runs_below(Path("runs"))
    assert run["parts"] == {"colour": "classification", "light": "regression", "tags": "multilabel"}
    assert run["primary"] == {"name": "r2", "higher_is_better": True, "unit": "", "part": "light"}
    assert run["selection"]["on"] == "validation/r2"
    assert set(run["selected"]["l2"]) == set(run["parts"])
    (file,) = Path("runs").rglob("predictions.csv")
    kind = kind_of(run)
    assert isinstance(kind, SeveralKind)
    found = read_predictions(file, kind)
    assert isinstance(found, SeveralPredictions)
    assert found.text() == file.read_text()
    assert found.per_image.mean() == pytest.approx(run["metrics"]["test/r2"], rel=1e-6)
    scores = kind.further(found, None).numbers
    for name in ("colour/accuracy", "light/r2", "tags/map"):
        assert scores[name] == pytest.approx(run["metrics"][f"test/{name}"], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("colour/prediction", "colour/said"), r"\(output 'colour'\) does not begin"),
        (lambda text: text.replace("light/prediction_dark", "hue/prediction"), "those of colour, light"),
        (lambda text: text.replace("\n0,", "\n7,"), "does not number its rows"),
        (lambda text: text.replace(",red,", ",pink,"), r"\(output 'colour'\) holds a class that has no column"),
    ],
)
def test_damaged_predictions_are_refused(change: Any, sentence: str) -> None:
    kind = SeveralKind(
        {name: kind_of({"task": task}) for name, task in (("colour", "classification"), ("light", "regression"))},
        "colour",
    )
    head = "number,id,colour/target,colour/prediction,colour/blue,colour/red,light/target_dark,light/prediction_dark\n"
    text = f"{head}0,a.png,red,blue,0.6,0.4,1.5,1.25\n1,b.png,blue,blue,0.9,0.1,2.5,2.25\n"
    file = Path("predictions.csv")
    file.write_text(text)
    found = read_predictions(file, kind)
    assert found.text() == text
    assert found.per_image.tolist() == [False, True]
    file.write_text(change(text))
    with pytest.raises(Exception, match=sentence):
        read_predictions(file, kind)


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": None},
        {"parts": {}},
        {"parts": {"a": "sorting"}},
        {"parts": {"a/b": "regression"}},
        {"primary": {"name": "accuracy", "part": "other"}},
        {"primary": "accuracy"},
        {"parts": {f"a{n}": "regression" for n in range(50)}},
    ],
)
def test_what_run_json_says_of_outputs_is_checked(changes: dict[str, Any]) -> None:
    record = {"task": "several", "parts": {"a": "classification"}, "primary": {"name": "accuracy", "part": "a"}}
    assert kind_of(record).primary.title == "accuracy of a"
    with pytest.raises(Exception, match=r"run.json (does not name its outputs|has the output)"):
        kind_of(record | changes)


def test_only_runs_of_the_same_outputs_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    list_of_several(60)
    for parts, strategy in (
        (f"{COLOUR}, {LIGHT}", "ridge"),
        (f"{COLOUR}, {LIGHT}", "knn"),
        (f"{COLOUR}, {TAGS}", "ridge"),
    ):
        assert main([*COMMON, f"task.parts={{{parts}}}", f"strategy={strategy}"]) == 0
    capsys.readouterr()
    assert main(["report", "runs", "--out", "out", "--no-figures"]) == 0
    rows = list(csv.DictReader(Path("out/comparisons.csv").read_text().splitlines()))
    assert len(rows) == 1
    assert {rows[0]["a"], rows[0]["b"]} == {"ridge", "knn"}
    assert "Runs of different tasks are not compared" in capsys.readouterr().out
    one = next(Path("runs").rglob("*knn*/run.json")).parent
    assert main(["report", str(one), "--out", "one", "--no-figures"]) == 0
    assert {"colour-classes.csv", "light-targets.csv"} <= {path.name for path in Path("one").iterdir()}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ([], "task.parts"),
        (["task.parts={}"], "needs a mapping of outputs"),
        (["task.parts=[a,b]"], "expected outputs by name"),
        (["task.parts={colour: label}"], "task.parts.colour=label: expected settings"),
        (["task.parts={colour: {column: label}}"], "task.parts.colour.kind=None: expected one of"),
        (["task.parts={colour: {kind: clasification, column: label}}"], "Did you mean 'classification'?"),
        (["task.parts={colour: {kind: classification, column: lable}}"], "Did you mean 'label'?"),
        (["task.parts={colour: {kind: classification}}"], "expected column=NAME or columns="),
        (["task.parts={colour: {kind: classification, columns: [label, light]}}"], "reads one label"),
        (["task.parts={colour: {kind: classification, column: [label]}}"], "column is one name"),
        (["task.parts={a/b: {kind: regression, column: light}}"], "begins with a letter"),
        (["task.parts={a: {kind: regression, column: light, bin: 3}}"], "Did you mean 'bins'?"),
        (["task.parts={a: {kind: regression, column: light, loss: cubic}}"], "task.parts.a.loss=cubic"),
        (["task.parts={a: {kind: regression, columns: [light, light]}}"], "each once"),
        (["task.parts={a: {kind: regression, column: light}, b: {kind: multilabel, column: light}}"], "also a target"),
        (["task.parts={a: {kind: regression, column: light}, A: {kind: regression, column: dark}}"], "more than case"),
        (["task.parts={a: {kind: regression, column: label}}"], "Output 'a': Column 'label'"),
        (["task.parts={a: {kind: regression, column: path}}"], "the path, the split or the group"),
        (["task.parts={a: {kind: classification, column: light}}"], "Output 'a': Labels of"),
        (["task.parts={a: {kind: multilabel, columns: [light, dark]}}"], "task=multilabel needs 0 or 1"),
        ([f"task.parts={{{COLOUR}}}", "task.primary=color"], "Did you mean 'colour'?"),
        ([f"task.parts={{{COLOUR}}}", "task.weights={color: 1}"], "Did you mean 'colour'?"),
        ([f"task.parts={{{COLOUR}}}", "task.weights={colour: 0}"], "expected a number above 0"),
        ([f"task.parts={{{COLOUR}}}", "task.weights=uncertain"], "Did you mean 'uncertainty'?"),
        ([f"task.parts={{{COLOUR}}}", "dataset.targets=[light]"], "reads the columns in task.parts"),
        ([f"task.parts={{{COLOUR}}}", "dataset.label_column=light"], "reads the columns in task.parts"),
        ([f"task.parts={{{COLOUR}}}", "dataset.balance=loss"], "dataset.balance counts classes"),
        ([f"task.parts={{{COLOUR}}}", "dataset.labels_per_class=3"], "labels_per_class counts classes"),
        ([f"task.parts={{{COLOUR}}}", "dataset.classes=[red,blue]"], "dataset.classes chooses classes"),
        ([f"task.parts={{{COLOUR}}}", "dataset=image_folder", "dataset.root=images"], "use dataset=csv"),
        ([f"task.parts={{{COLOUR}, {LIGHT}}}", "strategy=linear_probe"], "the output 'light' is a number"),
        ([f"task.parts={{{COLOUR}, {LIGHT}}}", "strategy=nearest_centroid"], "does not support task=several"),
        ([f"task.parts={{{COLOUR}, {LIGHT}}}", "head.init=class_means"], "has no classes"),
    ],
)  # fmt: skip
def test_wrong_outputs_get_one_sentence(settings: list[str], sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    list_of_several(30)
    assert main([*COMMON, "strategy=head_only", *settings]) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("column", "cell", "sentence"),
    [
        ("light", "much", "Output 'light': Column 'light' of 'images/list.csv' has the label 'much'"),
        ("light", "", "Line 5 of 'images/list.csv' has no light"),
        ("label", "", "Line 5 of 'images/list.csv' has no label"),
    ],
)
def test_wrong_cells_are_named(column: str, cell: str, sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    list_of_several(30)
    rows = list(csv.DictReader(Path("images/list.csv").read_text().splitlines()))
    rows[3][column] = cell
    with Path("images/list.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    assert main([*COMMON, "strategy=head_only", f"task.parts={{{COLOUR}, {LIGHT}, {TAGS}}}"]) == 2
    said = capfd.readouterr().err
    assert sentence.replace("images/list.csv", "") in said.replace(f"{Path.cwd()}/images/list.csv", "").replace(
        "images/list.csv", ""
    )

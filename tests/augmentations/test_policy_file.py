"""Test policy files: they are read back as written, and damaged files are refused in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.augmentations import Learned
from headstart.augmentations.learned.policy import OperationChoice, Policy, read_policy, write_policy
from headstart.augmentations.learned.relaxed import OPERATIONS, RANGES
from headstart.errors import ConfigError
from headstart.settings.identity import config_hash

ROTATE = OperationChoice("rotate", 0.75, 0.8, 20.0, 5.0)
INVERT = OperationChoice("invert", 0.25, 0.4)
DARKER = OperationChoice("brightness", 1.0, 0.9, 0.5, 0.2)
POLICY = Policy((((ROTATE, INVERT), (DARKER,)), ((DARKER,), (ROTATE,))), {"seed": 3, "dataset": "ants"})


def saved(policy: Policy, name: str = "policy.json") -> str:
    write_policy(Path(name), policy)
    return name


@st.composite
def choices(draw: st.DrawFn) -> OperationChoice:
    name = draw(st.sampled_from(OPERATIONS))
    weight, probability = draw(st.floats(0.01, 10)), draw(st.floats(0, 1))
    if name not in RANGES:
        return OperationChoice(name, weight, probability)
    span = RANGES[name]
    return OperationChoice(
        name, weight, probability, draw(st.floats(span.least, span.most)), draw(st.floats(0, span.most))
    )


policies = st.lists(
    st.lists(st.lists(choices(), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
    min_size=1,
    max_size=3,
).map(lambda found: Policy(tuple(found)))


@given(policy=policies)
def test_a_written_policy_is_read_back(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("policy") / "p.json"
    write_policy(path, policy)
    assert read_policy(path) == policy


@given(policy=policies, seed=st.integers(0, 99))
def test_draws_are_valid(policy: Policy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name, magnitude in policy.draw(rng):
        assert name in OPERATIONS
        assert name != "identity", "which is nothing to carry out"
        if name in RANGES:
            span = RANGES[name]
            assert span.least <= abs(magnitude) <= span.most
            assert span.signed or magnitude >= 0


def test_draws_follow_the_chances() -> None:
    rng = np.random.default_rng(0)
    view = Learned(saved(POLICY))
    drawn = [view.draw_steps(rng) for _ in range(8000)]
    counts = {name: sum(name == one for steps in drawn for one, _ in steps) / len(drawn) for name in POLICY.use()}
    assert POLICY.use() == pytest.approx({"brightness": 0.9, "rotate": (0.6 + 0.8) / 2, "invert": 0.05})
    assert counts == pytest.approx(POLICY.use(), abs=0.02)
    angles = np.array([value for steps in drawn for name, value in steps if name == "rotate"])
    assert np.abs(angles).min() == pytest.approx(15, abs=0.1)
    assert np.abs(angles).max() == pytest.approx(25, abs=0.1)
    assert (angles < 0).mean() == pytest.approx(0.5, abs=0.03)
    factors = np.array([value for steps in drawn for name, value in steps if name == "brightness"])
    assert (factors.min(), factors.max()) == pytest.approx((0.3, 0.7), abs=0.01)
    assert POLICY.typical("rotate") == pytest.approx((15.5, 20, 24.5), abs=0.2)
    assert POLICY.typical("invert") is None


def test_the_order_of_steps_is_that_of_the_file() -> None:
    always = [[[{"operation": "invert"}], [{"operation": "rotate", "magnitude": 90}]]]
    Path("p.json").write_text(json.dumps({"schema": 1, "sub_policies": always}))
    (first, _), (second, angle) = Learned("p.json").draw_steps(np.random.default_rng(0))
    assert (first, second, abs(angle)) == ("invert", "rotate", 90)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["schema"], 2, "schema 2 is unknown"),
        (["sub_policies"], [], "sub_policies: expected a list"),
        (["sub_policies", 0], {}, r"sub_policies\[0\]: expected a list"),
        (["sub_policies", 0, 0], [], r"sub_policies\[0\]\[0\]: expected a list"),
        (["sub_policies", 0, 0, 0], "rotate", r"sub_policies\[0\]\[0\]\[0\]: expected an operation"),
        (["sub_policies", 0, 0, 0, "operation"], "rotat", "no operation 'rotat'. Did you mean 'rotate'"),
        (["sub_policies", 0, 0, 0, "magnitude"], 500, "magnitude: 500 is not a number from 0 to 180"),
        (["sub_policies", 0, 0, 0, "magnitude"], None, "magnitude: None is not a number"),
        (["sub_policies", 0, 0, 0, "spread"], -1, "spread: -1 is not a number"),
        (["sub_policies", 0, 0, 0, "probability"], True, "probability: True is not a number from 0 to 1"),
        (["sub_policies", 0, 0, 0, "probability"], float("nan"), "probability: nan is not a number"),
        (["sub_policies", 0, 1, 0, "weight"], 0, "at least one weight must be above 0"),
        (["sub_policies", 0, 0, 1, "magnitude"], 3, "invert has no magnitude"),
        (["sub_policies", 0, 0, 0, "angle"], 3, "no setting 'angle'"),
        (["provenance"], [], "provenance must be a mapping"),
    ],
)
def test_damaged_files_are_refused(path: list, value: object, told: str) -> None:
    content = json.loads(Path(saved(POLICY)).read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    Path("policy.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=told) as error:
        Learned("policy.json")
    assert str(error.value).startswith("augmentation.policy=policy.json: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"schema": 1, "sub_pol', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "the file is no policy"),
        (b'{"metrics": {}}', "the file is no policy"),
    ],
    ids=["cut off", "no text", "deep", "a list", "something else"],
)
def test_wrong_policies_are_refused(content: bytes, told: str) -> None:
    Path("p.json").write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        read_policy("p.json")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.policy=gone\.json: there is no such file"):
        Learned("gone.json")


def test_the_hash_of_a_run_follows_the_content_of_the_policy() -> None:
    def of(file: str) -> str:
        view = {"_target_": "headstart.augmentations.Learned", "policy": file}
        return config_hash({"augmentation": {"policy": file, "learned": view}})

    other = Policy((((ROTATE,),),))
    first, copy, changed = saved(POLICY, "a.json"), saved(POLICY, "b.json"), saved(other, "c.json")
    assert of(first) == of(copy) != of(changed)
    before = of(first)
    saved(other, "a.json")
    assert of(first) == of(changed) != before

"""A new phone's predictor from few probes: it takes what the elders know, says how far it errs, and is a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.archive import unpack
from splitfleet.predictors.litert_adopt import adopt_litert, elders_of
from splitfleet.predictors.litert_package import open_litert_package, write_litert_package
from splitfleet.predictors.litert_train import LitertModels, evaluate_litert, litert_sets, train_litert
from splitfleet.predictors.probing import centres
from splitfleet.predictors.train import class_models, class_traces, train_class
from splitfleet.predictors.transfer import transfer, transfer_sets

from . import synthetic
from .test_litert_models import traces_of


def new_phone(count: int, seed: int, factor: float = 1.7, dispatch_us: float = 6.0) -> pd.DataFrame:
    """The made-up phone's law, but slower, and with more time before each launch."""
    rows = traces_of(count, seed)
    rows["end_ns"] = [[round(factor * ns[0] + 1e3 * dispatch_us)] for ns in rows["end_ns"]]
    return rows.assign(device_class="new-1", phone="new")


@pytest.fixture(scope="module")
def elder() -> LitertModels:
    return train_litert(traces_of(90, 1), seed=3).models


def test_a_few_probes_are_enough_where_an_elder_knows_the_law(elder: LitertModels) -> None:
    adopted = adopt_litert(new_phone(25, 7), [elder], seed=0)
    rows = evaluate_litert(adopted.models, new_phone(60, 2))
    errors = np.abs(rows["predicted_us"] / rows["measured_us"] - 1)
    scaled = evaluate_litert(elder, new_phone(60, 2))
    ratio = scaled["measured_us"] / scaled["predicted_us"]
    assert errors.mean() < 0.05
    assert errors.mean() < 0.5 * np.abs(ratio.median() / ratio - 1).mean()  # more than the elder with another scale
    told = adopted.metrics["conv2d"]
    assert told["n"] == 25
    assert abs(told["mape"] - 100 * errors.mean()) < 2.5


def test_an_elder_that_is_far_off_does_no_harm(elder: LitertModels) -> None:
    draw = np.random.default_rng(4)
    wild = traces_of(60, 5)
    wild["end_ns"] = [[round(1e3 * float(np.exp(draw.uniform(1, 6))))] for _ in wild["end_ns"]]
    other = train_litert(wild.assign(device_class="wild-1"), seed=0).models
    rows = evaluate_litert(adopt_litert(new_phone(40, 7), [other, elder], seed=0).models, new_phone(60, 2))
    assert np.abs(rows["predicted_us"] / rows["measured_us"] - 1).mean() < 0.07


def test_an_adopted_package_is_marked_and_the_same_each_time(elder: LitertModels, tmp_path: Path) -> None:
    about = {"elders": [elder.device_class], "shapes_probed": 25}
    paths = [
        write_litert_package(adopt_litert(probes, [elder], seed=0), tmp_path / name, about)
        for name, probes in (("a.zip", new_phone(25, 7)), ("b.zip", new_phone(25, 7)[::-1]))
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert unpack(paths[0], lambda name: True)[1]["provisional"] == about
    assert open_litert_package(paths[0]).device_class == "new-1"


def test_our_own_kernels_times_are_transferred_target_by_target(tmp_path: Path) -> None:
    elder = train_class(synthetic.traces(tmp_path / "elder"), synthetic.PROFILE, seed=0)
    rows = synthetic.trace_rows(25, seed=9)
    for row in rows:
        for name in ("start_ns", "end_ns", "wall_ns"):
            row[name] = [2 * value for value in row[name]] if name in row else None
        row["queued_ns"] = [2 * value for value in row["queued_ns"]] if "queued_ns" in row else None
    given = class_traces(synthetic.traces(tmp_path / "new", rows), synthetic.PROFILE)
    probed = train_class(given.used, synthetic.PROFILE, seed=0)
    adopted = class_models(given, transfer_sets(given.training, [elder.models.predictors], seed=0), seed=0)
    assert set(adopted.metrics) == set(probed.metrics)
    for target in ("gpu_execution", "cpu_t1", "cpu_t2"):
        assert adopted.metrics[target]["mape"] < probed.metrics[target]["mape"]
    assert adopted.models.error_ratios != probed.models.error_ratios


def test_what_is_missing_is_told(elder: LitertModels) -> None:
    with pytest.raises(UserError, match="training needs 5 shapes at least"):
        adopt_litert(new_phone(4, 7), [elder], seed=0)
    with pytest.raises(UserError, match="0 elders were there"):
        adopt_litert(new_phone(25, 7), [], seed=0)
    data = litert_sets(new_phone(25, 7))["products"]
    with pytest.raises(UserError, match="no elder predicts it"):
        transfer(data, [], seed=0)


def test_elders_of_the_same_vendor_come_first_and_none_is_the_phone_itself(elder: LitertModels) -> None:
    def made(name: str, gpu: str, precision: str = "fp16") -> LitertModels:
        return LitertModels(name, {"runtime": "litert", "gpu": gpu, "precision": precision}, elder.predictors)

    models = [
        made("a", "mali g76"), made("b", "adreno 640"), made("c", "adreno 616"), made("d", "powervr ge8320"),
        made("e", "apple g11p"), made("f", "adreno 640", "fp32"),
    ]  # fmt: skip
    chosen = elders_of({"gpu": "adreno 630", "precision": "fp16"}, "c", models)
    assert [one.device_class for one in chosen] == ["b", "a", "d", "e"]


def test_centres_are_spread_and_the_same_each_time(elder: LitertModels) -> None:
    frame = litert_sets(traces_of(90, 1))["products"].features
    rows = centres(frame, 20)
    assert list(rows) == list(centres(frame, 20))
    assert len(set(rows)) == 20
    logs = np.log(frame[["m", "n", "k"]].to_numpy())

    def gap(chosen: np.ndarray) -> float:
        return float(np.min(((logs[:, None] - logs[None, chosen]) ** 2).sum(axis=2), axis=1).mean())

    random = [gap(np.random.default_rng(seed).permutation(len(frame))[:20]) for seed in range(10)]
    assert gap(rows) < np.mean(random)
    assert list(centres(frame, 1000)) == list(range(len(frame)))

"""Predictors of imported traces: they see a law in them, say how sure they are, and come back from their package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert import LitertGpu
from splitfleet.kernels.litert.operations import lower_operations, parse_operation
from splitfleet.predictors.gaussian_process import GaussianProcess, Observed, search
from splitfleet.predictors.intervals import Intervals
from splitfleet.predictors.litert_package import open_litert_package, write_litert_package
from splitfleet.predictors.litert_predict import predict_operations
from splitfleet.predictors.litert_train import LitertTraining, evaluate_litert, train_litert
from splitfleet.predictors.metrics import interval_metrics
from splitfleet.predictors.traces import TRACE_SCHEMA

from ..pipeline.limits import files_up_to

GPU = "Adreno 640"
POINT = json.dumps({"runtime": "litert", "gpu": "adreno 640", "precision": "fp16"}, sort_keys=True)


def traces_of(count: int, seed: int, noise: float = 0.02) -> pd.DataFrame:
    """Convolutions whose time is a constant, work and what they add, with noise; some shapes come with and without."""
    draw = np.random.default_rng(seed)
    texts = set()
    while len(texts) < count:
        side, source, channels = draw.choice([7, 14, 28, 56]), draw.integers(2, 64) * 8, draw.integers(2, 64) * 8
        kernel = draw.choice([1, 3])
        texts.add(f"conv2d:h={side},w={side},in={source},out={channels},k={kernel},pad={kernel // 2}")
    operations = [parse_operation(text) for text in sorted(texts)]
    table = lower_operations(operations, LitertGpu.from_name(GPU))
    rows = []
    for index, (operation, launch) in enumerate(zip(operations, table.to_dict("records"), strict=True)):
        for adds in (0, 1) if index % 5 == 0 else (index % 2,):
            time_us = 8 + 4e-6 * launch["padded_flops"] + 4e-5 * adds * launch["m"] * launch["n"]
            quantities = {key: value for key, value in launch.items() if key not in ("kernel", "family")}
            rows.append(
                {
                    "campaign": "made",
                    "phone": "made",
                    "device_class": "made-1",
                    "job_id": f"{index}:{adds}",
                    "purpose": "measure",
                    "kind": "gpu",
                    "operator_type": operation.type,
                    "operator": json.dumps(operation.to_json()),
                    "kernel": launch["kernel"],
                    "quantities": json.dumps({**quantities, "fused_add": adds}),
                    "status": "ok",
                    "start_ns": [0],
                    "end_ns": [round(1e3 * time_us * float(np.exp(noise * draw.standard_normal())))],
                    "operating_point": POINT,
                }
            )
    return pd.DataFrame(rows, columns=[name for name in TRACE_SCHEMA.names if name in rows[0]])


@pytest.fixture(scope="module")
def trained() -> LitertTraining:
    return train_litert(traces_of(90, 1), seed=3)


def test_held_out_shapes_are_near_the_noise_and_inside_their_intervals(trained: LitertTraining) -> None:
    figures = trained.metrics["conv2d"]
    assert figures["n"] == 90  # a shape with two fusions is one observation
    assert figures["mape"] < 4
    assert 80 <= figures["coverage_90"] <= 100
    assert figures["width"] < 25


def test_other_shapes_are_as_near(trained: LitertTraining) -> None:
    rows = evaluate_litert(trained.models, traces_of(60, 2))
    errors = np.abs(rows["predicted_us"] / rows["measured_us"] - 1)
    assert len(rows) == 60
    assert errors.mean() < 0.04
    assert rows["outside"].mean() < 0.5


def test_a_shape_far_away_is_flagged_and_predicted(trained: LitertTraining) -> None:
    texts = [
        "conv2d:h=14,w=14,in=64,out=64,k=1",
        "conv2d:h=14,w=14,in=64,out=8000,k=1",
        "conv2d:h=2,w=2,in=64,out=64,k=1",
    ]
    found = predict_operations(trained.models, texts)
    assert list(found["outside"]) == [False, True, True]
    assert (found["low_us"] < found["predicted_us"]).all()
    assert (found["predicted_us"] < found["high_us"]).all()
    with pytest.raises(UserError, match="were not trained on mean"):
        predict_operations(trained.models, ["mean:height=7,width=7,channels=64"])
    with pytest.raises(UserError, match="leave its epilogue out"):
        predict_operations(trained.models, [texts[0] + ",epilogue=relu"])


def test_a_package_gives_the_same_predictions_and_shows_damage(trained: LitertTraining, tmp_path: Path) -> None:
    path = write_litert_package(trained, tmp_path / "made-1.zip")
    again = write_litert_package(train_litert(traces_of(90, 1)[::-1], seed=3), tmp_path / "again.zip")
    assert path.read_bytes() == again.read_bytes()
    texts = ["conv2d:h=14,w=14,in=64,out=64,k=1", "conv2d:h=28,w=28,in=32,out=64,k=3,pad=1"]
    both = [predict_operations(models, texts) for models in (trained.models, open_litert_package(path))]
    pd.testing.assert_frame_equal(*both)
    data = bytearray(path.read_bytes())
    data[data.index(b'"share"') + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"models/products\.json is damaged"):
        open_litert_package(path)


def test_a_place_that_cannot_be_written_is_named(trained: LitertTraining, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/p\.zip: cannot write the package \(.*\); make room or mend the folder"):
        write_litert_package(trained, tmp_path / "file" / "p.zip")
    with files_up_to(1000), pytest.raises(UserError, match=r"p\.zip: cannot write the package \(File too large\)"):
        write_litert_package(trained, tmp_path / "p.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_too_few_shapes_are_told() -> None:
    with pytest.raises(UserError, match="training needs 10 shapes"):
        train_litert(traces_of(8, 1), seed=0)


def test_a_process_finds_the_column_that_counts_and_a_row_does_not_depend_on_its_neighbours() -> None:
    draw = np.random.default_rng(5)
    frame = pd.DataFrame({"a": np.exp(draw.uniform(0, 3, 150)), "b": np.exp(draw.uniform(0, 3, 150)), "family": 0.0})
    target = np.sin(2 * np.log(frame["a"].to_numpy())) + 0.02 * draw.standard_normal(150)
    observed = Observed(target[:100], np.ones(100), np.full(100, 20.0))
    found = search(frame[:100], observed, ("a", "b"), (), 1, seed=0)
    assert found.found.lengths[0] < found.found.lengths[1] / 2
    process = found.fit(frame[:100], observed)
    predicted = process.predict(frame[100:])
    assert np.abs(predicted - target[100:]).mean() < 0.06
    assert [process.predict(frame.iloc[[row]])[0] for row in range(100, 150)] == list(predicted)
    same = GaussianProcess.from_json(json.loads(json.dumps(process.to_json())))
    assert list(same.predict(frame[100:])) == list(predicted)
    with pytest.raises(ValueError, match="sizes do not agree"):
        GaussianProcess.from_json({**process.to_json(), "weights": [1.0]})


@pytest.mark.parametrize(
    ("lengths", "signal", "noises"), [(-400, -400, -400), (400, 400, 400), (400, 400, -400)], ids=str
)
def test_a_search_that_steps_too_far_is_sent_back(
    lengths: float, signal: float, noises: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line search did so on 46 grouped convolutions of a phone; all warnings are errors here. The last covariance
    cannot be inverted: all observations are one, without noise."""
    draw = np.random.default_rng(7)
    frame = pd.DataFrame({"a": np.exp(draw.uniform(0, 3, 40)), "b": np.exp(draw.uniform(0, 3, 40)), "family": 0.0})
    observed = Observed(0.1 * draw.standard_normal(40), np.ones(40), np.full(40, 20.0))
    usual = search(frame, observed, ("a", "b"), (), 1, seed=0)
    values = []

    def far_first(function: Any, start: Any, args: Any, **options: Any) -> Any:
        step = np.array([lengths] * (len(start) - 4) + [signal] + [noises] * 3)
        for where in (start, start + step):
            value, gradient = function(where, *args)
            assert np.isfinite(gradient).all()
            values.append(value)
        return minimize(function, start, args=args, **options)

    monkeypatch.setattr("splitfleet.predictors.gaussian_process.minimize", far_first)
    assert search(frame, observed, ("a", "b"), (), 1, seed=0).found.lengths.tolist() == usual.found.lengths.tolist()
    assert np.isfinite(values).all()
    assert values[1] > values[0] + 1000


def test_intervals_hold_as_many_as_they_say_and_are_narrow_where_errors_are_small() -> None:
    draw = np.random.default_rng(6)
    size = np.exp(draw.uniform(0, 3, 3000))
    codes = np.arange(3000) % 2
    spread = np.where(codes, 0.02, 0.1) * np.where(size > 4, 1, 3)
    errors = spread * draw.standard_normal(3000)
    frame = pd.DataFrame({"m": size, "family": codes.astype(float)})
    intervals = Intervals.fit(frame[:1500], errors[:1500], ("m",), ("wide", "narrow"))
    assert intervals == Intervals.from_json(json.loads(json.dumps(intervals.to_json())), ("wide", "narrow"))
    low, high = intervals.bounds(frame[1500:], np.ones(1500))
    for family in (0, 1):
        rows = codes[1500:] == family
        figures = interval_metrics(np.exp(errors[1500:][rows]), low[rows], high[rows])
        assert 86 < figures["coverage_90"] < 94
    widths = intervals.widths(pd.DataFrame({"m": [2.0, 9.0, 2.0, 9.0, 9.0], "family": [0.0, 0.0, 1.0, 1.0, -1.0]}))
    assert widths[1] < widths[0] / 2
    assert widths[3] < widths[2] / 2 < widths[0] / 4
    assert widths[3] < widths[4]  # a family that was never seen gets what is typical of all
    alone = intervals.widths(frame.iloc[[7]])
    assert alone[0] == intervals.widths(frame)[7]
    with pytest.raises(ValueError, match="sizes do not agree"):
        Intervals.from_json({**intervals.to_json(), "errors": [0.1]}, ("wide", "narrow"))


def test_a_family_of_a_few_shapes_has_its_own_width() -> None:
    draw = np.random.default_rng(8)
    codes = np.repeat([0.0, 1.0], [400, 12])
    errors = np.where(codes == 1, 0.3, 0.02) * draw.standard_normal(412)
    frame = pd.DataFrame({"m": np.exp(draw.uniform(0, 3, 412)), "family": codes})
    intervals = Intervals.fit(frame, errors, ("m",), ("many", "few"))
    few = np.abs(errors[400:])
    assert np.mean(few <= intervals.widths(frame[400:])) >= 0.9

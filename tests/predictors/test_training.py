from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from splitfleet.kernels import (
    Conv2d,
    DepthwiseConv2d,
    Linear,
    Pool2d,
    Precision,
    describe_many,
    lower_many,
    operator_from_json,
)
from splitfleet.kernels.errors import UserError
from splitfleet.predictors.checked_joins import CheckedJoins
from splitfleet.predictors.cost_model import POOLED, fit_cost_model
from splitfleet.predictors.features import (
    CPU_FEATURES,
    GPU_FEATURES,
    UNKNOWN,
    Vocabulary,
    cpu_features,
    family_of,
    gpu_features,
    variant_of,
)
from splitfleet.predictors.observations import join_costs
from splitfleet.predictors.predictor import Predictor
from splitfleet.predictors.train import ClassModels, train_class

from . import synthetic

TARGETS = ["cpu_t1", "cpu_t2", "gpu_dispatch", "gpu_execution"]


def test_held_out_errors_are_near_the_noise(trained: ClassModels) -> None:
    assert sorted(trained.models.predictors) == TARGETS
    for target in TARGETS:
        figures = trained.metrics[target]
        assert figures["n"] == 60
        # The noise of a median of nine is below 1 %; what is above is what 48 shapes leave unexplained.
        assert figures["median_ape"] < 6, target
        assert sum(part["n"] for part in figures["by_kernel"].values()) == 60
    assert trained.metrics["cpu"]["n"] == 120


def test_each_shape_is_held_out_once(trained: ClassModels) -> None:
    for target, rows in trained.held_out.groupby("target"):
        assert sorted(rows["shape"]) == trained.training[str(target)].shapes
        assert (rows["predicted_us"] > 0).all()


def test_training_twice_gives_the_same_model(trained: ClassModels, tmp_path: Path) -> None:
    rows = synthetic.trace_rows()
    again = train_class(synthetic.traces(tmp_path, rows[::-1]), synthetic.PROFILE, seed=7)
    assert again.models == trained.models
    assert {t: d.sha256 for t, d in again.training.items()} == {t: d.sha256 for t, d in trained.training.items()}
    pd.testing.assert_frame_equal(again.held_out, trained.held_out)


def test_a_shape_measured_twice_is_one_observation(tmp_path: Path) -> None:
    rows = synthetic.trace_rows(12)
    slower = {**rows[1], "job_id": "again", "phone": "synthetic-2", "wall_ns": [3 * t for t in rows[1]["wall_ns"]]}
    assert slower["kind"] == "cpu"
    result = train_class(synthetic.traces(tmp_path, [*rows, slower]), synthetic.PROFILE, seed=1)
    held_out = result.held_out[result.held_out["target"] == "cpu_t1"]
    assert len(held_out) == 12
    shape = json.dumps(json.loads(rows[1]["operator"]), sort_keys=True, separators=(",", ":"))
    measured = held_out.set_index("shape").loc[shape, "measured_us"]
    assert measured == pytest.approx(2 * np.median(rows[1]["wall_ns"]) / 1e3)


def test_features_and_predictions_are_the_same_by_trace_and_by_lowering(trained: ClassModels) -> None:
    data = trained.training["gpu_execution"]
    predictor = trained.models.predictors["gpu_execution"]
    operators = [operator_from_json(json.loads(shape)) for shape in data.shapes]
    frame = predictor.features(lower_many(operators, synthetic.DEVICE))
    assert list(frame.columns) == list(GPU_FEATURES)
    pd.testing.assert_frame_equal(frame, data.features)
    one_by_one = [predictor.predict_us(frame.iloc[[row]])[0] for row in range(len(frame))]
    assert one_by_one == list(predictor.predict_us(frame))


def test_cpu_features_are_named_and_float(trained: ClassModels) -> None:
    predictor = trained.models.predictors["cpu_t1"]
    frame = predictor.features(describe_many(synthetic.layers(3, 5)))
    assert list(frame.columns) == list(CPU_FEATURES)
    assert set(frame.dtypes) == {np.dtype(np.float64)}


def test_an_unknown_kernel_is_flagged_and_predicted_from_its_family(trained: ClassModels) -> None:
    predictor = trained.models.predictors["gpu_execution"]
    table = lower_many(synthetic.layers(2, 5), synthetic.DEVICE)
    table["kernel"] = ["matmul_r3p32_signal", predictor.vocabulary.kernels[0]]
    assert list(predictor.known_kernels(table)) == [False, True]
    frame = predictor.features(table)
    assert frame["kernel"].iloc[0] == UNKNOWN
    assert frame["family"].iloc[0] != UNKNOWN
    assert np.isfinite(predictor.predict_us(frame)).all()
    table["kernel"] = "winograd"
    assert np.isfinite(predictor.predict_table_us(table)).all()


def test_launch_plans_without_a_quantity_are_refused() -> None:
    table = lower_many(synthetic.layers(2, 5), synthetic.DEVICE).drop(columns="loop")
    with pytest.raises(UserError, match=r"lack loop: they come from another version"):
        gpu_features(table, Vocabulary.of(list(table["kernel"])))


def test_cost_model_finds_a_sum_of_its_terms() -> None:
    draw = np.random.default_rng(3)
    frame = pd.DataFrame({"one": 1.0, "flops": 10 ** draw.uniform(4, 9, 80), "bytes": 10 ** draw.uniform(3, 7, 80)})
    frame["family"] = np.repeat([0.0, 1.0], 40)
    rate = np.where(frame["family"] == 0, 2e-5, 5e-5)
    time_us = (7.0 + rate * frame["flops"] + 1e-4 * frame["bytes"]).to_numpy()
    model = fit_cost_model(frame, time_us, ("one", "flops", "bytes"), ("fast", "slow"))
    np.testing.assert_allclose(model.predict_us(frame), time_us, rtol=1e-6)
    assert model.coefficients_us["slow"] == pytest.approx((7.0, 5e-5, 1e-4), rel=1e-4)
    unknown = model.predict_us(frame.assign(family=UNKNOWN))
    pooled = frame[["one", "flops", "bytes"]].to_numpy() @ np.array(model.coefficients_us[POOLED])
    np.testing.assert_allclose(unknown, pooled)
    assert all(value >= 0 for values in model.coefficients_us.values() for value in values)


def test_predictor_survives_its_files(trained: ClassModels) -> None:
    predictor = trained.models.predictors["gpu_execution"]
    files = predictor.to_files()
    text = files["gpu_execution.txt"].decode()
    loaded = Predictor.from_json(json.loads(files["gpu_execution.json"]), text, "here")
    assert loaded == predictor
    frame = trained.training["gpu_execution"].features
    assert list(loaded.raw_score(frame)) == list(predictor.raw_score(frame))
    assert list(loaded.predict_us(frame)) == list(predictor.predict_us(frame))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "here: predictor schema 1 is not known"),
        ({"process": {}}, "here: not a predictor description"),
        ({"uncertainty": {"level": 0.5}}, "here: not a predictor description"),
        ({"runtime": "abacus"}, "here: not a predictor description"),
        ({"features": ["m"]}, "here: this version of Splitfleet computes other features"),
        ({"cost_model": {}}, "here: not a predictor description"),
    ],
)
def test_a_predictor_of_another_version_is_refused(
    trained: ClassModels, change: dict[str, object], message: str
) -> None:
    predictor = trained.models.predictors["cpu_t1"]
    with pytest.raises(UserError, match=message):
        Predictor.from_json({**predictor.to_json(), **change}, predictor.booster_text, "here")


def test_joining_costs_are_wall_minus_device_time(trained: ClassModels) -> None:
    costs = trained.models.costs
    assert costs.checked.allow_polling
    for join, expected_us in synthetic.JOINS.items():
        for threads in synthetic.THREADS:
            assert costs.join_us[join][threads] == pytest.approx(expected_us + threads, rel=0.1)
    assert costs.completion_us["event_wait"] == pytest.approx(45.0, rel=0.05)
    assert costs.gpu_wait() == ("svm_poll", costs.join_us["svm_poll"][1])


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"mismatches": 1}, "2 of 1000000 joins found a stale payload"),
        ({"mismatches": 1, "status": "wrong_result"}, "2 of 0 joins found a stale payload"),
        ({"checked_joins": 499_999}, "the payload of 999998 joins was checked, 1000000 are needed"),
        ({"status": "noisy"}, "the payload of 0 joins was checked, 1000000 are needed"),
    ],
)
def test_polling_is_refused_unless_checked_and_never_stale(
    tmp_path: Path, change: dict[str, object], verdict: str
) -> None:
    rows = [row | (change if row.get("join") == "svm_poll" else {}) for row in synthetic.trace_rows(12)]
    models = train_class(synthetic.traces(tmp_path, rows), synthetic.PROFILE, 0).models
    assert models.costs.checked.verdict == verdict
    assert set(models.costs.join_us) == {"event_wait", "finish"}


def test_joins_checked_by_earlier_campaigns_count(tmp_path: Path) -> None:
    few = {"checked_joins": 1_000}
    rows = [row | (few if row.get("join") == "svm_poll" else {}) for row in synthetic.trace_rows(12)]
    traces = synthetic.traces(tmp_path, rows)
    before = CheckedJoins(998_000)
    assert "svm_poll" in train_class(traces, synthetic.PROFILE, 0, checked_before=before).models.costs.join_us


def test_joining_costs_are_never_negative(tmp_path: Path) -> None:
    rows = synthetic.trace_rows(12)
    for row in rows:
        if row["kind"] == "sync":
            row["wall_ns"] = [1] * len(row["wall_ns"])
    costs = join_costs(synthetic.traces(tmp_path, rows), CheckedJoins(1_000_000))
    assert {us for by_threads in costs.join_us.values() for us in by_threads.values()} == {0.0}


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda row: row["kind"] != "gpu", "0 shapes were measured by gpu jobs"),
        (lambda row: row["kind"] != "cpu" or row["job_id"] < "cpu0005", "5 shapes were measured by cpu jobs"),
        (lambda row: False, "found none"),
    ],
)
def test_too_few_traces_are_refused(tmp_path: Path, keep: object, message: str) -> None:
    frame = synthetic.traces(tmp_path, synthetic.trace_rows(12))
    kept = frame[[bool(keep(row)) for _, row in frame.iterrows()]]  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        train_class(kept, synthetic.PROFILE, seed=1)


def test_two_device_classes_are_refused(tmp_path: Path) -> None:
    rows = synthetic.trace_rows(12)
    rows[0]["device_class"] = "other-00000000"
    with pytest.raises(UserError, match="one device class; found"):
        train_class(synthetic.traces(tmp_path, rows), synthetic.PROFILE, seed=1)


def test_failed_and_validation_traces_are_not_trained_on(trained: ClassModels, tmp_path: Path) -> None:
    rows = synthetic.trace_rows()
    failed = {"status": "wrong_result", "error": "off by one", "wall_ns": None}
    extra = [{**rows[1], "job_id": "bad", **failed}, {**rows[1], "job_id": "check", "purpose": "validate"}]
    traces = synthetic.traces(tmp_path, [*rows, *extra])
    assert train_class(traces, synthetic.PROFILE, seed=7).models == trained.models


def test_variants_and_families_are_read_off_kernel_names() -> None:
    names = {
        "matmul_r6p16_signal": ("matmul_r6p16", "matmul"),
        "matmul_r6p16_fp16_fp32_out32_add_relu_signal": ("matmul_r6p16_fp16_fp32", "matmul_fp16_fp32"),
        "conv_direct_r4p8_fp16_relu6": ("conv_direct_r4p8_fp16", "conv_direct_fp16"),
        "depthwise_r1p4": ("depthwise_r1p4", "depthwise"),
        "im2col": ("im2col", "im2col"),
    }
    assert {name: (variant_of(name), family_of(name)) for name in names} == names


@pytest.mark.parametrize("precision", ["fp32", "fp16_fp32"])
def test_every_type_of_operator_has_all_features(precision: Precision) -> None:
    operators = [
        Linear(8, 16, 32, "add"),
        Conv2d(9, 9, 8, 16, 3, 3, 1, 1, 1, "relu6"),
        DepthwiseConv2d(9, 9, 16, 3, 3, 2, 1, 1),
        Pool2d("avg", 8, 8, 16, 2, 2, 2, 0, 0),
    ]
    launches = lower_many(operators, synthetic.DEVICE, precision=precision)
    gpu = gpu_features(launches, Vocabulary.of(list(launches["kernel"])))
    cpu = cpu_features(describe_many(operators), Vocabulary.of(["product", "im2col", "depthwise", "avgpool"]))
    assert gpu.columns.to_list() == list(GPU_FEATURES)
    assert cpu.columns.to_list() == list(CPU_FEATURES)
    for frame in (gpu, cpu):
        assert np.isfinite(frame.to_numpy()).all()
        assert frame["family"].nunique() == 4
        assert list(frame["residual_bytes"] > 0) == [True, False, False, False]
        assert list(frame["activation"]) == [0, 2, 0, 0]

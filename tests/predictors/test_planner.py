from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitfleet.kernels import Conv2d, Device, Linear, Operator, UserError, cuts, describe_many, lower_many
from splitfleet.kernels.operators import slice_output
from splitfleet.predictors.calibration import Calibration
from splitfleet.predictors.checked_joins import CheckedJoins
from splitfleet.predictors.curves import LINE_CHANNELS, predict_curves
from splitfleet.predictors.interference import Interference, Slowdown
from splitfleet.predictors.models import GPU, DeviceModels, JoinCosts
from splitfleet.predictors.planner import LINE_TOLERANCE, plan_layers, plan_operator, plan_operators
from splitfleet.predictors.split_table import Join
from splitfleet.predictors.train import ClassModels

from . import synthetic

LAYERS: list[Operator] = [
    Linear(197, 768, 3072),
    Linear(50, 96, 200),
    Linear(1, 768, 40),
    Conv2d(28, 28, 128, 128, 3, 3, 1, 1, 1),
    Conv2d(14, 14, 64, 60, 1, 1, 1, 0, 0),
]


def _brute_force(operator: Operator, models: DeviceModels, device: Device) -> tuple[float, float, float, set[object]]:
    """Best expected (CPU, GPU, split) times one by one, and the ways that are within the tolerance of the best."""

    def cpu(op: Operator, threads: int) -> float:
        return float(models.predictors[f"cpu_t{threads}"].predict_table_us(describe_many([op]))[0])

    def gpu(op: Operator) -> float:
        table = lower_many([op], device)
        return sum(
            float(models.predictors[name].predict_table_us(table)[0]) for name in ("gpu_dispatch", "gpu_execution")
        )

    channels = operator.channels
    ratios = {name: models.error_ratios[name] for name in models.error_ratios}
    all_cpu = min(np.mean([cpu(operator, n) * r for r in ratios[f"cpu_t{n}"]]) for n in models.thread_counts)
    all_gpu = np.mean([gpu(operator) * r for r in ratios[GPU]]) + models.costs.gpu_wait()[1]
    ways = {}
    for cut in cuts(operator):
        gpu_us = gpu(slice_output(operator, int(cut), channels))
        for join, by_threads in models.costs.join_us.items():
            if join == "svm_poll" and not device.svm_polling:
                continue
            for threads, join_us in by_threads.items():
                cpu_us = cpu(slice_output(operator, 0, int(cut)), threads)
                pairs = product(ratios[f"cpu_t{threads}"], ratios[GPU])
                expected = np.mean([max(cpu_us * a, gpu_us * b) for a, b in pairs]) + join_us
                ways[int(cut), threads, join] = float(expected)
    best = min(ways.values(), default=np.inf)
    near: set[object] = {way for way, time in ways.items() if time <= best * (1 + LINE_TOLERANCE) ** 2}
    return float(all_cpu), float(all_gpu), best, near


@pytest.mark.parametrize("operator", LAYERS, ids=lambda op: op.label)
@pytest.mark.parametrize("polling", [True, False])
def test_planner_agrees_with_brute_force(trained: ClassModels, operator: Operator, polling: bool) -> None:
    models, device = trained.models, replace(synthetic.DEVICE, svm_polling=polling)
    small = operator if operator.channels <= 200 else Linear(20, 64, 128)
    plan = plan_operators([small], models, device)[small]
    cpu_us, gpu_us, split_us, near = _brute_force(small, models, device)
    decision, best = plan.decision, plan.prospect
    assert decision.cpu_us == pytest.approx(cpu_us, rel=1e-9)
    assert decision.gpu_us == pytest.approx(gpu_us, rel=1e-9)
    assert best is not None
    assert (best.cut, best.threads, best.join) in near
    assert split_us - 1e-9 <= best.expected_us <= split_us * (1 + LINE_TOLERANCE) + 1e-9
    assert (decision.processor == "split") == (best.gain > best.uncertainty)
    assert decision.predicted_us <= min(decision.cpu_us, decision.gpu_us) * (1 + 1e-9)
    assert decision.low_us <= decision.high_us


def test_large_layers_are_split_at_whole_lines(trained: ClassModels) -> None:
    decision = plan_operator(LAYERS[0], trained.models, synthetic.DEVICE)
    assert decision.processor == "split"
    assert decision.cut % LINE_CHANNELS == 0
    assert decision.join == "svm_poll"
    assert 1.2 < decision.predicted_speedup < 2


def test_layers_too_small_to_cut_stay_whole(trained: ClassModels) -> None:
    decision = plan_operator(Linear(4000, 700, 4), trained.models, synthetic.DEVICE)
    assert decision.processor in ("cpu", "gpu")
    [curves] = predict_curves([Linear(4000, 700, 4)], trained.models, synthetic.DEVICE)
    assert curves.cuts.tolist() == [0, 4]


def test_a_split_whose_gain_the_errors_do_not_allow_is_not_taken(trained: ClassModels) -> None:
    sure = plan_operator(LAYERS[0], trained.models, synthetic.DEVICE)
    wide = tuple(1.0 * factor for factor in np.geomspace(0.2, 5, 9))
    vague = replace(trained.models, error_ratios=dict.fromkeys(trained.models.error_ratios, wide))
    unsure = plan_operators([LAYERS[0]], vague, synthetic.DEVICE)[LAYERS[0]]
    assert (sure.processor, unsure.decision.processor) == ("split", "cpu")
    assert unsure.prospect is not None
    assert unsure.prospect.gain < unsure.prospect.uncertainty


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 64),
    features=st.integers(1, 64),
    outputs=st.integers(1, 96),
    ratios=st.lists(st.floats(0.3, 3.0), min_size=9, max_size=9).map(sorted),
    slowdown=st.floats(-0.3, 1.0),
    join_us=st.floats(0, 500),
)
def test_a_plan_is_never_expected_to_be_worse_than_a_single_processor(
    trained: ClassModels, rows: int, features: int, outputs: int, ratios: list[float], slowdown: float, join_us: float
) -> None:
    slower = Slowdown((slowdown, 0.1, 0.0))
    models = replace(
        trained.models,
        error_ratios=dict.fromkeys(trained.models.error_ratios, tuple(ratios)),
        interference=Interference(slower, slower, 0.0, 10),
        costs=replace(trained.models.costs, join_us={"finish": {1: join_us, 2: join_us}}),
    )
    operator = Linear(rows, 4 * features, 4 * outputs)
    plan = plan_operators([operator], models, synthetic.DEVICE)[operator]
    decision = plan.decision
    single_us = min(decision.cpu_us, decision.gpu_us)
    if decision.processor == "split":
        assert plan.prospect is not None
        assert plan.prospect.gain > plan.prospect.uncertainty
        assert decision.predicted_us < single_us
    else:
        assert decision.predicted_us == single_us


def test_halves_that_slow_each_other_down_are_planned_with_it(trained: ClassModels) -> None:
    alone = plan_operator(LAYERS[0], trained.models, synthetic.DEVICE)
    slower = replace(trained.models, interference=Interference(cpu=Slowdown((0.3, 0.0, 0.0)), pairs=20))
    joint = plan_operator(LAYERS[0], slower, synthetic.DEVICE)
    assert joint.cut < alone.cut, "the CPU, which is slowed down, gets less"
    assert joint.predicted_us > alone.predicted_us
    assert joint.cpu_us == alone.cpu_us


def test_what_was_measured_of_a_layer_counts(trained: ClassModels) -> None:
    ratios = tuple(float(ratio) for ratio in np.geomspace(0.8, 1.25, 9))
    models = replace(trained.models, error_ratios=dict.fromkeys(trained.models.error_ratios, ratios))
    before = plan_operators([LAYERS[0]], models, synthetic.DEVICE)[LAYERS[0]]
    first = before.prospect
    assert first is not None
    [curves] = predict_curves([LAYERS[0]], models, synthetic.DEVICE)
    place = curves.cuts.tolist().index(first.cut)
    cpu_us, gpu_us = curves.cpu_us[first.threads][place], curves.gpu_us[place]
    found = Calibration(
        first.cut, first.threads, first.join, 1.5 * cpu_us, 1.1 * gpu_us, 30.0, 0.0, 1.5 * before.decision.cpu_us,
        before.decision.cpu_threads, 1.1 * before.decision.gpu_us,
    )  # fmt: skip
    after = plan_operators([LAYERS[0]], models, synthetic.DEVICE, {LAYERS[0]: [found]})[LAYERS[0]]
    assert after.prospect is not None
    assert after.prospect.cut < first.cut
    assert after.prospect.rest_us == 30.0
    assert after.prospect.uncertainty < first.uncertainty
    assert after.decision.cpu_us == pytest.approx(1.5 * before.decision.cpu_us, rel=0.02)


def test_dear_joins_leave_layers_whole(trained: ClassModels) -> None:
    dear: dict[Join, dict[int, float]] = {"finish": {1: 1e9, 2: 1e9}}
    models = replace(trained.models, costs=JoinCosts({"event_wait": 45.0}, dear, CheckedJoins()))
    assert plan_operator(LAYERS[0], models, synthetic.DEVICE).processor != "split"


def test_without_joining_costs_nothing_is_split(trained: ClassModels) -> None:
    models = replace(trained.models, costs=JoinCosts({"event_wait": 45.0}, {}, CheckedJoins()))
    decision = plan_operator(LAYERS[0], models, synthetic.DEVICE)
    assert decision.processor == "cpu"
    assert decision.gpu_join == "event_wait"


def test_step_limits_the_cuts(trained: ClassModels) -> None:
    [curves] = predict_curves([LAYERS[0]], trained.models, synthetic.DEVICE, step=512)
    assert curves.cuts.tolist() == [0, 512, 1024, 1536, 2048, 2560, 3072]
    assert (curves.execution_us[-1], curves.cpu_us[1][0]) == (0.0, 0.0)
    assert plan_operator(LAYERS[0], trained.models, synthetic.DEVICE, step=512).cut in curves.cuts
    with pytest.raises(UserError, match="multiple of 4"):
        plan_operator(LAYERS[0], trained.models, synthetic.DEVICE, step=6)


def test_curves_are_the_same_alone_and_among_others(trained: ClassModels) -> None:
    together = predict_curves(LAYERS, trained.models, synthetic.DEVICE)
    for operator, found in zip(LAYERS, together, strict=True):
        [alone] = predict_curves([operator], trained.models, synthetic.DEVICE)
        assert found.cuts.tolist() == alone.cuts.tolist()
        np.testing.assert_allclose(found.gpu_us, alone.gpu_us, rtol=1e-12)
        for threads in (1, 2):
            np.testing.assert_allclose(found.cpu_us[threads], alone.cpu_us[threads], rtol=1e-12)
    assert predict_curves([], trained.models, synthetic.DEVICE) == []


def test_an_operator_type_not_trained_on_is_refused(trained: ClassModels) -> None:
    linear_only = {name: replace(p, operator_types=("linear",)) for name, p in trained.models.predictors.items()}
    models = replace(trained.models, predictors=linear_only)
    with pytest.raises(UserError, match="was trained on linear only, not on conv2d"):
        plan_operator(LAYERS[3], models, synthetic.DEVICE)


def test_layers_given_twice_are_planned_once(trained: ClassModels) -> None:
    table = plan_layers([LAYERS[1], LAYERS[4], LAYERS[1]], trained.models, synthetic.DEVICE)
    assert {entry.decision.operator for entry in table.entries} == {LAYERS[1], LAYERS[4]}
    assert len(table.entries) == 2

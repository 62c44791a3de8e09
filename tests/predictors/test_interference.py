from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from splitfleet.kernels import Linear, Operator, lower_many
from splitfleet.predictors.interference import Interference, Slowdown, joint_times, learn_interference
from splitfleet.predictors.train import ClassModels, train_class

from . import synthetic

LAYER = Linear(16, 256, 512)


def half(kind: str, operator: Operator, us: float) -> dict[str, object]:
    shape = {"operator_type": "linear", "operator": json.dumps(operator.to_json())}
    if kind == "cpu":
        return synthetic.trace_row("cpu", f"cpu {operator.label}", **shape, threads=1, wall_ns=[int(us * 1e3)] * 3)
    events = {"queued_ns": [0] * 3, "submit_ns": [0] * 3, "start_ns": [0] * 3, "end_ns": [int(us * 1e3)] * 3}
    return synthetic.trace_row("gpu", f"gpu {operator.label}", **shape, join="finish", wall_ns=[0] * 3, **events)


def joint(cut: int, cpu_us: float, gpu_us: float, rest_us: float) -> dict[str, object]:
    shape = {"operator_type": "linear", "operator": json.dumps(LAYER.to_json())}
    wall_ns = [int((max(cpu_us, gpu_us) + rest_us) * 1e3)] * 3
    times = {"queued_ns": [0] * 3, "submit_ns": [0] * 3, "start_ns": [0] * 3, "end_ns": [int(gpu_us * 1e3)] * 3}
    return synthetic.trace_row(
        "coexec", f"both {cut}", **shape, cut=cut, threads=1, join="finish", cpu_ns=[int(cpu_us * 1e3)] * 3,
        wall_ns=wall_ns, **times,
    )  # fmt: skip


def rows(cuts: range, cpu: float, gpu: float) -> list[dict[str, object]]:
    """Halves in proportion to their channels, and `cpu` and `gpu` times as long together."""
    found = []
    for cut in cuts:
        alone = 2.0 * cut, 2.0 * (512 - cut)
        found += [
            half("cpu", LAYER.with_channels(cut), alone[0]),
            half("gpu", LAYER.with_channels(512 - cut), alone[1]),
        ]
        found.append(joint(cut, cpu * alone[0], gpu * alone[1], 7.0))
    return found


def test_slowdowns_are_those_of_joint_jobs_over_both_halves_alone(tmp_path: Path) -> None:
    traces = synthetic.traces(tmp_path, rows(range(16, 512, 32), 1.3, 1.1))
    assert len(joint_times(traces)) == 16
    found = learn_interference(traces, {"finish": {1: 5.0}})
    assert found.pairs == 16
    assert found.join_us == pytest.approx(2.0)
    even = np.array([100.0])
    assert found.cpu.factors(even, even, np.array([20.0]))[0] == pytest.approx(1.3, rel=0.02)
    assert found.gpu.factors(even, even, np.array([20.0]))[0] == pytest.approx(1.1, rel=0.02)


def test_a_joint_job_without_its_halves_tells_nothing(tmp_path: Path) -> None:
    traces = synthetic.traces(tmp_path, [joint(64, 100.0, 100.0, 5.0), half("cpu", LAYER.with_channels(64), 90.0)])
    assert joint_times(traces).empty
    assert learn_interference(traces, {}) == Interference()


def test_the_shorter_half_s_own_slowdown_is_learnt() -> None:
    draw = np.random.default_rng(3)
    own, other = np.exp(draw.uniform(3, 8, 40)), np.exp(draw.uniform(3, 8, 40))
    joint_us = own * 1.1 * (other / own) ** 0.2
    joint_us[:3] *= 2  # spoiled
    fitted = Slowdown.fit(own, other, np.full(40, 10.0), joint_us)
    ten = np.array([10.0])
    assert fitted.factors(ten, 4 * ten, ten)[0] == pytest.approx(1.1 * 4**0.2, rel=0.03)
    assert fitted.factors(ten, ten / 4, ten)[0] == pytest.approx(1.1 * 4**-0.2, rel=0.03)


def test_few_measurements_hardly_move_it_and_none_not_at_all() -> None:
    ten = np.array([10.0])
    assert Slowdown.fit(*[np.array([])] * 4) == Slowdown()
    assert Slowdown().factors(ten, ten, ten)[0] == 1.0
    assert Slowdown((0.5, 0.0, 0.0)).factors(np.array([0.0]), ten, ten)[0] == 1.0, "an empty half"


def test_it_is_kept_with_the_models(trained: ClassModels, tmp_path: Path) -> None:
    assert trained.models.interference == Interference(), "there are no joint jobs among the synthetic traces"
    found = Interference(Slowdown((0.1, 0.2, 0.3), 1.0, 0.05), Slowdown(), 3.0, 9)
    assert Interference.from_json(json.loads(json.dumps(found.to_json()))) == found
    joint_rows = [row for row in rows(range(16, 512, 64), 1.3, 1.1) if row["kind"] == "coexec"]
    halves = [LAYER.with_channels(channels) for channels in range(16, 512, 16)]
    on_gpu, on_cpu = synthetic.gpu_times_us(halves), synthetic.cpu_times_us(halves, 1)
    plans = lower_many(halves, synthetic.DEVICE)
    alone = []
    for index, operator in enumerate(halves):
        quantities = {k: v.item() for k, v in plans.iloc[index].items() if k not in ("kernel", "family")}
        plan = {"kernel": plans["kernel"][index], "quantities": json.dumps(quantities)}
        alone += [half("cpu", operator, on_cpu[index]), {**half("gpu", operator, sum(on_gpu)[index]), **plan}]
    traces = synthetic.traces(tmp_path, [*alone, *joint_rows])
    assert train_class(traces, synthetic.PROFILE, seed=1).models.interference.pairs == 8

"""Predictors from times that were really measured: kernels on PoCL, products by NumPy."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from splitfleet.kernels import Linear, Operator, lower, operator_from_json
from splitfleet.predictors.planner import plan_operator
from splitfleet.predictors.traces import read_traces, write_traces
from splitfleet.predictors.train import train_class

from . import synthetic

if TYPE_CHECKING:
    from splitfleet.kernels.runner import Runner

REPETITIONS = 5


def _layers(count: int) -> list[Operator]:
    """Products of 5 MFLOP to 700: even a loaded machine's wake-up times (0.3 ms) do not hide which one is larger."""
    draw = np.random.default_rng(5)
    return [Linear(256, *(int(100 * 12 ** draw.uniform(0, 1)) for _ in range(2))) for _ in range(count)]


def _traces(runner: Runner, operator: Operator, index: int) -> list[dict[str, Any]]:
    from splitfleet.kernels.runner import random_tensors

    plan = lower(operator, runner.device)
    inputs, weights = random_tensors(operator.input_shape, operator.matmul[2], operator.matmul[1], seed=index)
    runs = [runner.run(plan, inputs, weights)[1] for _ in range(3 * REPETITIONS)]
    runs = sorted(runs, key=lambda run: run["end_ns"] - run["start_ns"])[:REPETITIONS]  # the others were disturbed
    events = {name: [run[name] for run in runs] for name in runs[0]}
    events["wall_ns"] = [run["end_ns"] - run["queued_ns"] + 50_000 for run in runs]
    walls = []
    for _ in range(REPETITIONS):
        started = time.perf_counter_ns()
        inputs @ weights
        walls.append(time.perf_counter_ns() - started)
    shape = {"operator_type": operator.type, "operator": json.dumps(operator.to_json())}
    launch = {"kernel": plan.kernel, "quantities": json.dumps(plan.quantities), "join": "event_wait"}
    return [
        synthetic.trace_row("gpu", f"gpu{index}", **shape, **launch, **events),
        synthetic.trace_row("cpu", f"cpu{index}", **shape, threads=1, core_mask=2, wall_ns=walls),
    ]


@pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")
def test_predictors_learn_what_pocl_takes(runner: Runner, tmp_path: Path) -> None:
    layers = _layers(40)
    rows = [row for index, operator in enumerate(layers) for row in _traces(runner, operator, index)]
    write_traces(rows, tmp_path / "traces.parquet")
    trained = train_class(read_traces(tmp_path), synthetic.PROFILE, seed=3)
    execution = trained.held_out[trained.held_out["target"] == "gpu_execution"]
    work = [operator_from_json(json.loads(shape)).flops for shape in execution["shape"]]
    quarter = pd.qcut(work, 4, labels=False)
    by_quarter = execution["predicted_us"].groupby(quarter).median()
    assert by_quarter[3] > 3 * by_quarter[0]  # their work differs sevenfold
    decision = plan_operator(layers[0], trained.models, runner.device)
    assert decision.processor in ("cpu", "gpu")  # no sync job told what joining costs
    assert decision.gpu_join == "event_wait"

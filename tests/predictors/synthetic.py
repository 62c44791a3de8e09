"""Traces of a phone that does not exist: a plausible latency function over real launch plans, with measuring noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from splitfleet.kernels import Conv2d, Device, Linear, Operator, describe_many, lower_many
from splitfleet.predictors.traces import read_traces, write_traces
from splitfleet.predictors.train import ClassModels

CAPABILITIES: dict[str, Any] = {
    "schema": 1,
    "agent": {
        "version": "0.1.0",
        "build": "b1",
        "isa": "avx2",
        "backends": {"eigen": "eigen-3.4.0"},
        "architecture": "x86_64",
    },
    "cpu": {"cores": [{"id": 1, "max_khz": None}]},
    "opencl": {
        "platform": "Synthetic",
        "device": "Synthetic GPU",
        "vendor": "Nobody",
        "compute_units": 2,
        "max_work_group_size": 256,
        "max_work_item_sizes": [256, 256, 256],
        "preferred_vector_float": 8,
        "max_alloc_bytes": 1 << 31,
        "svm": {"coarse": True, "fine_buffer": True, "fine_system": False, "atomics": True},
    },
}
DEVICE = Device.from_capabilities(CAPABILITIES)
OPERATING_POINT = {"agent_build": "b1", "isa": "avx2", "core_mask": 6}
DEVICE_CLASS = "synthetic-0123abcd"
PROFILE = {
    "schema": 1,
    "device_class": DEVICE_CLASS,
    "model": "Synthetic",
    "soc": "none",
    "operating_point": OPERATING_POINT,
    "capabilities": CAPABILITIES,
}
THREADS = (1, 2)
JOINS = {"svm_poll": 5.0, "event_wait": 40.0, "finish": 55.0}


def layers(count: int, seed: int) -> list[Operator]:
    """Different operators of sizes that networks have; every third has the sizes of the one before but for channels."""
    draw = np.random.default_rng(seed)
    found: dict[str, Operator] = {}
    while len(found) < count:
        channels = [int(4 * draw.integers(2, 200)) for _ in range(2)]
        operator: Operator = Linear(int(draw.integers(1, 200)), *channels)
        if draw.random() < 0.6:
            size, kernel = int(draw.integers(7, 57)), int(draw.choice([1, 3, 5]))
            operator = Conv2d(size, size, *channels, kernel, kernel, int(draw.choice([1, 2])), kernel // 2, kernel // 2)
        if found and len(found) % 3 == 2:
            operator = list(found.values())[-1 - len(found) // 3 % 2].with_channels(int(4 * draw.integers(1, 150)))
        if operator.flops < 10**9:
            found[operator.label] = operator
    return list(found.values())


def gpu_times_us(operators: list[Operator]) -> tuple[np.ndarray, np.ndarray]:
    """(dispatch, execution): a rate for each family and block, memory traffic, work-groups, and a step with waves."""
    table = lower_many(operators, DEVICE)
    rate = np.where(table["pointwise"] == 1, 40e3, 25e3) * np.sqrt(table["block_rows"] * table["panel"] / 96.0)
    execution = 6 + table["padded_flops"] / rate + 0.15 * table["work_groups_per_unit"] + table["packed_bytes"] / 2e4
    return (12 + 0.01 * table["work_groups"]).to_numpy(), execution.to_numpy()


def cpu_times_us(operators: list[Operator], threads: int) -> np.ndarray:
    table = describe_many(operators)
    speed = 30e3 * threads**0.8
    return (3 + table["flops"] / speed + table["gathered_bytes"] / 8e3 + table["weight_bytes"] / 1.5e4).to_numpy()


def trace_rows(
    count: int = 60, seed: int = 1, noise: float = 0.02, counts: tuple[int, ...] = THREADS
) -> list[dict[str, Any]]:
    """gpu and cpu jobs for `count` shapes, and sync jobs for each join and thread count."""
    draw = np.random.default_rng(seed)
    operators = layers(count, seed)
    table = lower_many(operators, DEVICE)
    dispatch, execution = gpu_times_us(operators)
    rows = []
    for index, operator in enumerate(operators):
        plan = table.iloc[index]
        quantities = {k: v.item() for k, v in plan.items() if k not in ("kernel", "family")}
        shape = {"operator_type": operator.type, "operator": json.dumps(operator.to_json())}
        gpu = {"kernel": plan["kernel"], "quantities": json.dumps(quantities), "join": "event_wait"}
        times = _events(dispatch[index], execution[index], 45.0, noise, draw)
        rows.append(trace_row("gpu", f"gpu{index:04}", **shape, **gpu, **times))
        for threads in counts:
            wall = _ns(cpu_times_us([operator], threads)[0], noise, draw)
            rows.append(
                trace_row("cpu", f"cpu{index:04}t{threads}", **shape, threads=threads, core_mask=6, wall_ns=wall)
            )
    for join, cost_us in JOINS.items():
        for threads in counts:
            times = _events(12.0, 2.0, cost_us + threads, noise, draw)
            checked = {"checked_joins": 500_000, "mismatches": 0}
            rows.append(trace_row("sync", f"sync-{join}-{threads}", join=join, threads=threads, **checked, **times))
    return rows


def traces(folder: Path, rows: list[dict[str, Any]] | None = None) -> pd.DataFrame:
    """The rows after a round through Parquet, as training gets them."""
    write_traces(trace_rows() if rows is None else rows, folder / "traces" / "phone=a" / "part.parquet")
    return read_traces(folder)


def with_one_predictor(trained: ClassModels) -> ClassModels:
    """A training of which one predictor is left: logging it takes a quarter of the time."""
    [target, *_] = trained.models.predictors
    models = replace(trained.models, predictors={target: trained.models.predictors[target]})
    return replace(trained, models=models)


def trace_row(kind: str, job_id: str, **values: Any) -> dict[str, Any]:
    fixed = {
        "campaign": "synthetic",
        "phone": "synthetic-1",
        "device_class": DEVICE_CLASS,
        "purpose": "measure",
        "attempt": 1,
        "status": "ok",
        "backend": "eigen-3.4.0",
        "agent_build": "b1",
        "isa": "avx2",
        "operating_point": json.dumps(OPERATING_POINT, sort_keys=True),
        "precision": "fp32",
        "mode": "single" if kind == "gpu" else None,
    }
    return {**fixed, "kind": kind, "job_id": job_id, "max_relative_error": 1e-7, **values}


def _events(dispatch: float, execution: float, completion: float, noise: float, draw: Any) -> dict[str, list[int]]:
    first, second, third = (_ns(us, noise, draw) for us in (dispatch, execution, completion))
    queued = [1_000_000 * index for index in range(len(first))]
    start = [q + d for q, d in zip(queued, first, strict=True)]
    end = [s + e for s, e in zip(start, second, strict=True)]
    wall = [d + e + c for d, e, c in zip(first, second, third, strict=True)]
    return {"queued_ns": queued, "submit_ns": queued, "start_ns": start, "end_ns": end, "wall_ns": wall}


def _ns(time_us: float, noise: float, draw: Any, repetitions: int = 9) -> list[int]:
    return [int(value) for value in 1e3 * time_us * np.exp(noise * draw.standard_normal(repetitions))]

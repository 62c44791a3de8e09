"""What two processors at work at once cost each other: how much longer each half takes beside the other than alone.

Learnt from `coexec` traces whose halves were also measured alone. CPU and GPU share memory and caches. The shorter half
suffers more: all of it runs beside the other, and while it waited for the next round, the other's data took its place
in the caches. So does a half that moves many bytes for its work. The logarithm of a half's slowdown is therefore linear
in log(other half's time alone / its own) and in the logarithm of its intensity, in FLOPs a byte. Coefficients are drawn
towards 0 (no slowdown) by normal priors, as Bayesian linear regression does (Bishop, Pattern Recognition and Machine
Learning, 3.3), and measurements that a loaded host spoiled count less (Huber's weights).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.kernels import Operator, describe_channels, operator_from_json, slice_output

from .split_table import Join

Floats = NDArray[np.float64]

_PRIORS = (0.2, 0.2, 0.05)  # standard deviations of the coefficients before anything was measured
_MOST_BALANCE = float(np.log(16))
_LEAST_SPREAD = 0.02  # two measurements of one time differ by as much
_HUBER = 1.5
_ROUNDS = 10


@dataclass(frozen=True)
class Slowdown:
    """Of one processor's half. `coefficients` are those of 1, log(other / own) and log intensity - centre; `spread` is
    the typical deviation of log(slowdown) from what is said here."""

    coefficients: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre: float = 0.0
    spread: float = _LEAST_SPREAD

    def factors(self, own_us: Floats, other_us: Floats, intensity: Floats) -> Floats:
        """Time beside the other half over time alone [n], of halves that take these times [n] alone, of these
        intensities [n] in FLOPs a byte. Where a half is empty, 1."""
        both = (own_us > 0) & (other_us > 0)
        columns = _columns(np.where(both, own_us, 1.0), np.where(both, other_us, 1.0), intensity, self.centre)
        return np.where(both, np.exp(columns @ np.array(self.coefficients)), 1.0)

    @classmethod
    def fit(cls, own_us: Floats, other_us: Floats, intensity: Floats, joint_us: Floats) -> Slowdown:
        """From the times [n] of halves alone and beside the other; none at all gives no slowdown."""
        if not len(own_us):
            return cls()
        wanted = np.log(joint_us / own_us)
        centre = float(np.log(intensity).mean())
        columns = _columns(own_us, other_us, intensity, centre)
        precision = np.diag(np.array(_PRIORS) ** -2)
        found, spread = np.array([np.median(wanted), 0.0, 0.0]), _LEAST_SPREAD
        for _ in range(_ROUNDS):
            left = wanted - columns @ found
            spread = max(1.4826 * float(np.median(np.abs(left))), _LEAST_SPREAD)
            weights = np.minimum(1.0, _HUBER * spread / np.maximum(np.abs(left), 1e-12)) / spread**2
            weighted = columns.T * weights
            found = np.linalg.solve(weighted @ columns + precision, weighted @ wanted)
        return cls((float(found[0]), float(found[1]), float(found[2])), centre, spread)


def _columns(own_us: Floats, other_us: Floats, intensity: Floats, centre: float) -> Floats:
    balance = np.clip(np.log(other_us / own_us), -_MOST_BALANCE, _MOST_BALANCE)
    return np.column_stack([np.ones_like(balance), balance, np.log(intensity) - centre])


@dataclass(frozen=True)
class Interference:
    """The slowdowns of both halves, and from how many joint jobs they were learnt.

    `join_us` is what joining takes beyond the cost of joining empty halves, in microseconds; it may be negative.
    """

    cpu: Slowdown = Slowdown()
    gpu: Slowdown = Slowdown()
    join_us: float = 0.0
    pairs: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Interference:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(_slowdown(data["cpu"]), _slowdown(data["gpu"]), float(data["join_us"]), int(data["pairs"]))


def _slowdown(data: dict[str, Any]) -> Slowdown:
    level, balance, intensity = map(float, data["coefficients"])
    return Slowdown((level, balance, intensity), float(data["centre"]), float(data["spread"]))


def intensities(operator: Operator, channels: Sequence[int] | NDArray[np.int64]) -> Floats:
    """FLOPs a byte of fp32 [n] of slices of an operator that have these numbers of output channels [n]."""
    shapes = describe_channels(operator, np.asarray(channels, dtype=np.int64))
    moved = shapes["input_bytes"] + shapes["weight_bytes"] + shapes["output_bytes"] + shapes["residual_bytes"]
    return np.asarray(shapes["flops"] / moved, dtype=np.float64)


def joint_times(traces: pd.DataFrame) -> pd.DataFrame:
    """One row for each `coexec` job of which both halves were also measured alone, from one class's `ok` traces.

    Columns: operator (JSON text), cut, threads, join, and medians in us: cpu_alone_us, cpu_joint_us, gpu_alone_us,
    gpu_joint_us (dispatch and execution), rest_us (from the end of the later half until both results are visible).
    """
    alone: dict[tuple[str, int], list[float]] = {}
    halves = traces[(traces["kind"] == "cpu") | ((traces["kind"] == "gpu") & (traces["mode"] == "single"))]
    for row in halves.to_dict("records"):
        threads = int(row["threads"]) if row["kind"] == "cpu" else 0
        alone.setdefault((_label(row["operator"]), threads), []).append(_median_us(_own_ns(row)))
    found = []
    for row in traces[traces["kind"] == "coexec"].to_dict("records"):
        operator, cut, threads = operator_from_json(json.loads(row["operator"])), int(row["cut"]), int(row["threads"])
        cpu = alone.get((slice_output(operator, 0, cut).label, threads))
        gpu = alone.get((slice_output(operator, cut, operator.channels).label, 0))
        if cpu is None or gpu is None:
            continue
        cpu_ns, gpu_ns, wall_ns = np.asarray(row["cpu_ns"]), _gpu_ns(row), np.asarray(row["wall_ns"])
        found.append(
            {
                "operator": row["operator"],
                "cut": cut,
                "threads": threads,
                "join": row["join"],
                "cpu_alone_us": float(np.median(cpu)),
                "cpu_joint_us": _median_us(cpu_ns),
                "gpu_alone_us": float(np.median(gpu)),
                "gpu_joint_us": _median_us(gpu_ns),
                "rest_us": _median_us(wall_ns - np.maximum(cpu_ns, gpu_ns)),
            }
        )
    columns = ["operator", "cut", "threads", "join", "cpu_alone_us", "cpu_joint_us", "gpu_alone_us", "gpu_joint_us"]
    return pd.DataFrame(found, columns=[*columns, "rest_us"])


def learn_interference(traces: pd.DataFrame, join_us: Mapping[Join, Mapping[int, float]]) -> Interference:
    """From one class's `ok` traces, and the costs of joining empty halves by join and threads, in us."""
    pairs = joint_times(traces)
    if pairs.empty:
        return Interference()
    operators = [operator_from_json(json.loads(text)) for text in pairs["operator"]]
    halves = list(zip(operators, pairs["cut"], strict=True))
    on_cpu = np.concatenate([intensities(op, [cut]) for op, cut in halves])
    on_gpu = np.concatenate([intensities(op, [op.channels - cut]) for op, cut in halves])
    empty_us = [join_us.get(join, {}).get(n, np.nan) for join, n in zip(pairs["join"], pairs["threads"], strict=True)]
    beyond_us = (pairs["rest_us"] - np.array(empty_us)).dropna()
    cpu_us, gpu_us = pairs["cpu_alone_us"].to_numpy(np.float64), pairs["gpu_alone_us"].to_numpy(np.float64)
    return Interference(
        Slowdown.fit(cpu_us, gpu_us, on_cpu, pairs["cpu_joint_us"].to_numpy(np.float64)),
        Slowdown.fit(gpu_us, cpu_us, on_gpu, pairs["gpu_joint_us"].to_numpy(np.float64)),
        float(beyond_us.median()) if len(beyond_us) else 0.0,
        len(pairs),
    )


def _own_ns(row: dict[Any, Any]) -> NDArray[np.int64]:
    return np.asarray(row["wall_ns"]) if row["kind"] == "cpu" else _gpu_ns(row)


def _gpu_ns(row: dict[Any, Any]) -> NDArray[np.int64]:
    return np.asarray(np.asarray(row["end_ns"]) - np.asarray(row["queued_ns"]))


def _median_us(times_ns: NDArray[np.int64]) -> float:
    return float(np.median(times_ns)) / 1e3


def _label(operator: str) -> str:
    return operator_from_json(json.loads(operator)).label

"""One network on one device class: its plan, the jobs that execute it, and what their traces say for the next plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from splitfleet.kernels import Network, Operator
from splitfleet.kernels.network import Node
from splitfleet.predictors.calibration import Calibration
from splitfleet.predictors.models import DeviceModels
from splitfleet.predictors.network_calibration import NodeTimes, measured_join_us, network_calibrations
from splitfleet.predictors.network_planner import NetworkPlan, plan_network
from splitfleet.predictors.planner import plan_layers
from splitfleet.predictors.split_table import SplitTable

from .campaign import Repeat
from .jobs import Job, JobFactory
from .network_lowering import LoweredNetwork, lower_network
from .profile import DeviceProfile

_ROUNDS = 9  # of a calibration
_GLUE = "glue"
_HAND_OVERS = {"host": "", "event": "_event", "poll": "_poll"}

Trace = Mapping[Any, Any]


@dataclass(frozen=True)
class Measured:
    """Medians in us of one execution's variants, `hand_overs_us` by way of execution and of handing over."""

    by_way_us: dict[str, float]
    hand_overs_us: dict[str, float]
    glue_us: float
    rounds: int
    max_relative_error: float
    cheapest: dict[str, str]
    """The variant of each way whose time `by_way_us` has."""


def why_not(trace: Trace | None) -> str | None:
    """Why there are no times; None where there are."""
    if trace is None:
        return "no phone has measured it"
    return None if trace["status"] == "ok" else f"{trace['status']}: {trace['error']}"


def measured(trace: Trace) -> Measured:
    """What a trace without an error says."""
    variants = {variant["name"]: variant for variant in trace["variants"]}
    medians = {name: float(median(variant["wall_ns"])) / 1e3 for name, variant in variants.items()}
    cheapest = {"cpu": "cpu"}
    for way in ("gpu", "split"):
        names = [way + suffix for suffix in _HAND_OVERS.values() if way + suffix in medians]
        cheapest[way] = min(names, key=lambda name: medians[name])
    return Measured(
        {way: medians[name] for way, name in cheapest.items()},
        {name: medians["split" + suffix] for name, suffix in _HAND_OVERS.items() if "split" + suffix in medians},
        medians[_GLUE],
        min(len(variant["wall_ns"]) for variant in variants.values()),
        max(float(variant["max_relative_error"]) for name, variant in variants.items() if name != _GLUE),
        cheapest,
    )


@dataclass
class NetworkPlanning:
    """`plan` is the last one, from what is known so far; `table_us` is what `take` learnt of the first one.

    `record` is what was published for the device class, if anything: its split table and the calibrations of layers.
    Operators that it lacks are planned from the predictors alone.
    """

    network: Network
    models: DeviceModels
    profile: DeviceProfile
    record: Mapping[str, Any] | None
    plan: NetworkPlan = field(init=False)
    table_us: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    _calibrations: dict[Operator, list[Calibration]] = field(default_factory=dict)
    _calibrated_us: dict[str, float] = field(default_factory=dict)
    _glue_us: dict[str, float] = field(default_factory=dict)
    _join_us: float | None = None

    def __post_init__(self) -> None:
        self._table = self._table_of()
        given = self.record["calibrations"] if self.record else {}
        alone = {op: [Calibration(**each) for each in given.get(op.label, ())] for op in self.network.operators}
        self.plan = plan_network(self.network, self.models, self.profile.device, alone, table=self._table)

    def calibrating_job(self) -> Job:
        return self.job(_ROUNDS)

    def job(self, rounds: int) -> Job:
        """Executes the network by its plan, each variant once a round."""
        join, _ = self.models.costs.gpu_wait()
        return JobFactory(self.profile, Repeat()).network(self._lowered(), self._threads, join, rounds)

    def take(self, trace: Trace | None) -> bool:
        """Plans again with what a calibrating job says, if anything; whether the plan has other cuts now."""
        why = why_not(trace)
        if trace is None or why is not None:
            self.error = None if self._calibrations else why
            return False
        found = measured(trace)
        self._calibrated_us = found.by_way_us
        if not self.table_us:
            predicted_us = self.plan.predicted_us + found.glue_us
            self.table_us = {"predicted": predicted_us, "measured": found.by_way_us["split"]}
        times = self._node_times(json.loads(trace["nodes"]), found.cheapest)
        threads, device = self._threads, self.profile.device
        more = network_calibrations(self.network, self.plan, times, threads, self.models, device)
        for operator, calibrations in more.items():
            self._calibrations.setdefault(operator, []).extend(calibrations)
        self._glue_us = {name: each.cpu_part_us for name, each in times.items()}
        self._join_us = measured_join_us(self.plan, times, found.by_way_us["split"])
        before = self.plan
        self.plan = plan_network(
            self.network, self.models, device, self._calibrations, self._glue_of, join_us=self._join_us
        )
        return _cuts(before) != _cuts(self.plan)

    def take_anew(self, trace: Trace | None) -> None:
        """The same where the phone has drifted meanwhile: what was learnt before does not count. Without times in the
        trace nothing changes."""
        if why_not(trace) is None:
            self._calibrations.clear()
            self.take(trace)

    def drift(self, trace: Trace | None) -> float:
        """How much longer all-CPU or all-GPU took than in the last calibration, as a part of 1: of the one that moved
        more. 0.0 where there is nothing to compare."""
        if trace is None or why_not(trace) is not None or not self._calibrated_us:
            return 0.0
        now_us = measured(trace).by_way_us
        return max((now_us[way] / self._calibrated_us[way] - 1 for way in ("cpu", "gpu")), key=abs)

    def predicted_us(self) -> dict[str, float]:
        """By way."""
        return {"cpu": self.plan.cpu_us, "gpu": self.plan.gpu_us, "split": self.plan.predicted_us}

    @property
    def _threads(self) -> int:
        return max((decision.cpu_threads for decision in self.plan.decisions.values()), default=1)

    def _glue_of(self, node: Node) -> float:
        return self._glue_us.get(node.name, 0.0)

    def _lowered(self) -> LoweredNetwork:
        return lower_network(self.network, self._table, self.profile, self.plan.decisions)

    def _table_of(self) -> SplitTable:
        """The published entries of the network's operators, the others as the predictors alone plan them."""
        known = [] if self.record is None else SplitTable.from_json(self.record["split_table"]).entries
        published = {entry.decision.operator: entry for entry in known if entry.rows is None}
        operators = dict.fromkeys(self.network.operators)
        planned = plan_layers([each for each in operators if each not in published], self.models, self.profile.device)
        used = [published[operator] for operator in operators if operator in published]
        return SplitTable.of(planned.device_class, planned.backend, [*used, *planned.entries], planned.precision)

    def _node_times(self, nodes: list[dict[str, Any]], cheapest: Mapping[str, str]) -> dict[str, NodeTimes]:
        """By the nodes' names; a node that the agent computes in several steps takes their sum."""
        by_variant = {each["name"]: each for each in nodes}
        of = {way: by_variant[variant] for way, variant in cheapest.items()}
        times: dict[str, NodeTimes] = {}
        for index, name in enumerate(self._lowered().parts_of):
            step = NodeTimes(
                _us(of["cpu"]["cpu_ns"][index]),
                _us(of["gpu"]["gpu_ns"][index]),
                _us(of["split"]["cpu_ns"][index]),
                _us(of["split"]["gpu_ns"][index]),
            )
            times[name] = step if name not in times else times[name].plus(step)
        return times


def _us(time_ns: int | None) -> float:
    return (time_ns or 0) / 1e3


def _cuts(plan: NetworkPlan) -> dict[str, int]:
    return {name: decision.cut for name, decision in plan.decisions.items()}

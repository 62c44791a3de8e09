from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from splitfleet.kernels import Launch, LaunchPlan, Linear
from splitfleet.kernels.check import KINDS, Case, check_device, described_devices, draw_cases, run_case
from splitfleet.kernels.programs import Variant
from splitfleet.kernels.runner import Runner

LINEAR = Linear(10, 20, 24)


def test_a_device_that_computes_right_is_told_so(runner: Runner) -> None:
    done: list[int] = []
    rows = check_device(runner.opencl_device, cases=6, seed=3, progress=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    assert sum(row.cases for row in rows) == 6
    for row in rows:
        assert row.status == "ok"
        assert 0 <= row.worst_error <= row.tolerance
        assert row.worst.startswith(Variant.parse(row.kernel).family)


def test_cases_reach_every_kind_precision_and_device(runner: Runner) -> None:
    turn = len(KINDS) * 2 * len(described_devices(runner.device))
    cases = list(islice(draw_cases(runner.device, seed=0), turn))
    assert {case.precision for case in cases} == {"fp32", "fp16_fp32"}
    assert {case.operator.type for case in cases} == {"linear", "conv2d", "depthwise_conv2d", "pool2d"}
    assert {case.device.vendor_family for case in cases} == {"pocl", "adreno", "mali", "powervr", "nvidia", "generic"}
    assert {bool(case.cut) for case in cases} == {True, False}
    assert cases == list(islice(draw_cases(runner.device, seed=0), turn))
    assert cases != list(islice(draw_cases(runner.device, seed=1), turn))


def _with_argument(plan: LaunchPlan, position: int, value: int) -> LaunchPlan:
    first = plan.launches[0]
    args: list[dict[str, Any]] = list(first.args)
    args[position] = {"i32": value}
    launch = Launch(first.kernel, tuple(args), first.global_size, first.local_size)
    return replace(plan, launches=(launch, *plan.launches[1:]))


@pytest.mark.parametrize(
    ("position", "value", "fault"),
    [
        (5, 19, ""),  # sums one product too few
        (4, 20, "unwritten"),  # leaves the last columns out
        (7, 0, "CPU's channels"),  # writes at the start of the row
    ],
)
def test_a_wrong_kernel_is_found(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, position: int, value: int, fault: str
) -> None:
    case = Case(LINEAR, runner.device, "fp32", cut=0 if fault != "CPU's channels" else 4)
    broken = _with_argument(case.plan(), position, value)
    monkeypatch.setattr(Case, "plan", lambda self: broken)
    outcome = run_case(runner, case)
    assert not outcome.is_right
    assert fault in outcome.fault
    assert outcome.fault or outcome.error > outcome.tolerance


def test_a_device_that_computes_wrong_is_told_with_the_case(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = _with_argument(Case(LINEAR, runner.device, "fp32").plan(), 5, 19)
    monkeypatch.setattr("splitfleet.kernels.check.draw_cases", lambda *_: iter([Case(LINEAR, runner.device, "fp32")]))
    monkeypatch.setattr(Case, "plan", lambda self: wrong)
    (row,) = check_device(runner.opencl_device, cases=1)
    assert (row.kernel, row.status) == ("matmul", "wrong")
    assert LINEAR.label in row.worst


def test_a_refused_launch_is_a_failed_case(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(LINEAR, runner.device, "fp32")
    plan = case.plan()
    first = plan.launches[0]
    refused = replace(plan, launches=(Launch(first.kernel, first.args, (7, 5), (2, 2)),))
    monkeypatch.setattr(Case, "plan", lambda self: refused)
    outcome = run_case(runner, case)
    assert "matmul" in outcome.fault
    assert not outcome.is_right

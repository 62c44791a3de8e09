"""Calibration: which layers are measured, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pytest

from splitfleet.kernels import Linear
from splitfleet.pipeline.calibrating import Calibrating
from splitfleet.predictors.train import ClassModels

from ..predictors import synthetic
from ..predictors.conftest import trained  # noqa: F401
from .profiles import profile

LARGE, SMALL, UNCUT = Linear(197, 768, 3072), Linear(64, 256, 512), Linear(8, 64, 4)
PHONE = replace(
    profile(cores=2), capabilities={**profile(cores=2).capabilities, "opencl": synthetic.CAPABILITIES["opencl"]}
)


@pytest.fixture
def calibrating(trained: ClassModels) -> Calibrating:  # noqa: F811
    return Calibrating.of([LARGE, SMALL, UNCUT], trained.models, PHONE)


def answered(calibrating: Calibrating, cpu: float, gpu: float, status: str = "ok") -> dict[str, dict[Hashable, Any]]:
    """The phone's answers: each half takes so many times as long as was predicted."""
    traces: dict[str, dict[Hashable, Any]] = {}
    for operator, job in calibrating.jobs.items():
        plan = calibrating.plans[operator]
        assert plan.prospect is not None
        half_us = plan.prospect.expected_us - plan.prospect.rest_us
        whole_us = [plan.decision.cpu_us * cpu, plan.decision.gpu_us * gpu]
        times_us = [half_us * max(cpu, gpu), *whole_us]
        variants = []
        for variant, us in zip(job.body["variants"], times_us, strict=True):
            end_ns = [half_us * gpu * 1e3] * 3
            halves = {"cpu_ns": [half_us * cpu * 1e3] * 3, "queued_ns": [0.0] * 3, "end_ns": end_ns}
            variants.append({"name": variant["name"], "wall_ns": [us * 1e3] * 3, **halves})
        traces[job.id] = {"status": status, "variants": variants}
    return traces


def test_layers_that_may_gain_are_measured_at_their_best_split(calibrating: Calibrating) -> None:
    jobs = calibrating.next_jobs(100)
    assert [job.body["operator"]["out_features"] for job in jobs] == [3072, 512], "the most to gain first"
    assert [variant["kind"] for variant in jobs[0].body["variants"]] == ["coexec", "cpu", "gpu"]


def test_no_more_layers_are_measured_than_asked_for(calibrating: Calibrating) -> None:
    assert [job.body["operator"]["out_features"] for job in calibrating.next_jobs(1)] == [3072]


def test_a_layer_is_planned_again_until_its_cut_stays(calibrating: Calibrating) -> None:
    before = calibrating.plans[LARGE].decision
    calibrating.next_jobs(1)
    calibrating.take(answered(calibrating, cpu=1.6, gpu=1.0))
    moved = calibrating.plans[LARGE].decision
    assert moved.cut < before.cut
    assert calibrating.predicted[LARGE].decision == before
    assert len(calibrating.next_jobs(1)) == 1, "its cut has moved"
    calibrating.take(answered(calibrating, cpu=1.0, gpu=1.0))
    assert len(calibrating.measured[LARGE]) == 2
    assert len(calibrating.every_job) == 2


def test_a_plan_that_was_right_is_measured_once(calibrating: Calibrating) -> None:
    calibrating.next_jobs(1)
    calibrating.take(answered(calibrating, cpu=1.0, gpu=1.0))
    assert calibrating.next_jobs(1) == []


def test_a_measurement_that_failed_changes_nothing(calibrating: Calibrating) -> None:
    before = calibrating.plans[LARGE].decision
    calibrating.next_jobs(1)
    calibrating.take(answered(calibrating, cpu=2.0, gpu=1.0, status="noisy"))
    assert calibrating.plans[LARGE].decision == before
    assert LARGE not in {*calibrating.measured, *calibrating.next_jobs(0)}

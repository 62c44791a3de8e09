"""Which layers are proved on the phone, with which jobs, and what the times are taken to say."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pytest

from splitfleet.kernels import Linear, Operator
from splitfleet.pipeline.campaign import Publish
from splitfleet.pipeline.conditions import Conditions
from splitfleet.pipeline.proof import (
    LayerProof,
    choose_layers,
    comparison_job,
    first_us,
    halves_together,
    measured,
    search_curve,
    search_jobs,
)
from splitfleet.pipeline.ways import Way
from splitfleet.predictors.split_table import SplitDecision

from .profiles import profile

LAYER = Linear(8, 64, 96)
PUBLISH = Publish(search_cuts=4, rounds=31)
PHONE = profile(cores=2)
Trace = dict[Hashable, Any]


def decision(operator: Operator = LAYER, cut: int = 32) -> SplitDecision:
    """Split at `cut`; all-GPU at 0, all-CPU at the number of channels."""
    whole = operator.channels
    processor = {0: "gpu", whole: "cpu"}.get(cut, "split")
    threads = {"gpu": 0, "cpu": 2, "split": 1}[processor]
    join = None if processor == "cpu" else "event_wait"
    times = {"predicted_us": 10.0, "low_us": 9.0, "high_us": 11.0, "cpu_us": 20.0, "gpu_us": 18.0}
    return SplitDecision(operator, processor, cut, threads, join, cpu_threads=2, gpu_join="event_wait", **times)  # type: ignore[arg-type]


def timed(wall_us: float) -> Trace:
    return {"status": "ok", "wall_ns": [1e3 * wall_us * factor for factor in (1.0, 0.9, 1.5)]}


def searched(times_us: dict[int, float], cut: int = 32) -> tuple[LayerProof, dict[str, Trace]]:
    """The proof of a layer whose search gave these times by cut; other cuts were not measured."""
    proof = search_jobs(decision(cut=cut), PUBLISH, PHONE, "event_wait")
    traces = {job.id: timed(times_us[way.cut]) for way, job in proof.search.items() if way.cut in times_us}
    return proof, traces


def test_searched_layers_are_among_those_measured_and_splits_come_first() -> None:
    layers = [Linear(8, 64, 4 * count) for count in range(1, 31)]
    decisions = [decision(layer, cut=4 if index % 3 == 2 else 0) for index, layer in enumerate(layers)]
    chosen, to_search = choose_layers(decisions, Publish(validate_layers=8, search_layers=3), seed=1)
    assert len(chosen) == len(set(chosen)) == 8
    assert to_search < set(chosen)
    assert len(to_search) == 3
    by_operator = {each.operator: each for each in decisions}
    assert all(by_operator[layer].processor == "split" for layer in chosen[3:])
    assert layers[0] not in chosen, "a layer of four channels cannot be cut"
    assert choose_layers(decisions, Publish(validate_layers=8, search_layers=3), seed=1) == (chosen, to_search)


def test_a_search_has_even_cuts_the_plan_and_both_processors() -> None:
    proof = search_jobs(decision(cut=28), PUBLISH, PHONE, "event_wait")
    assert [way.cut for way in proof.search] == [0, 96, 24, 28, 48, 72]
    assert [job.kind for job in proof.search.values()] == ["gpu", "cpu", "coexec", "coexec", "coexec", "coexec"]
    assert len({job.id for job in proof.search.values()}) == 6
    assert all(job.body["repeat"]["min_count"] == PUBLISH.search_repetitions for job in proof.search.values())


def test_the_winner_of_the_search_is_measured_again() -> None:
    proof, traces = searched({0: 18, 96: 20, 24: 12, 32: 13, 72: 30})
    proof = comparison_job(proof, PUBLISH, PHONE, traces)
    assert proof.winner == Way(24, 1, "event_wait")
    assert proof.comparison is not None
    assert proof.comparison.body["rounds"] == 31
    variants = {variant["name"]: variant for variant in proof.comparison.body["variants"]}
    assert list(variants) == [
        "cut=32 threads=1 join=event_wait",
        "cut=96 threads=2 join=none",
        "cut=0 threads=0 join=event_wait",
        "cut=24 threads=1 join=event_wait",
        "cpu_half",
        "gpu_half",
    ]
    assert variants["cpu_half"]["operator"]["out_features"] == 32
    assert variants["gpu_half"]["operator"]["out_features"] == 64
    assert search_curve(proof, traces) == {0: 18, 96: 20, 24: 12, 32: 13, 72: 30}


def test_a_plan_that_is_all_gpu_is_executed_once() -> None:
    proof = comparison_job(LayerProof(decision(cut=0), {}), PUBLISH, PHONE, {})
    assert proof.comparison is not None
    assert [variant["kind"] for variant in proof.comparison.body["variants"]] == ["gpu", "cpu"]
    assert proof.joint is None


def test_where_only_the_winner_is_a_split_its_halves_are_taken() -> None:
    proof, traces = searched({0: 18, 24: 12}, cut=0)
    proof = comparison_job(proof, PUBLISH, PHONE, traces)
    assert proof.joint == Way(24, 2, "event_wait")


def compared(proof: LayerProof, **fields: Any) -> dict[str, Trace]:
    """The traces of a comparison in which each variant's wall time in us is its place, times 10."""
    assert proof.comparison is not None
    variants = []
    for place, variant in enumerate(proof.comparison.body["variants"], start=1):
        end_ns = [1e3 * place * 2] * 3
        times = {"wall_ns": timed(10 * place)["wall_ns"], "cpu_ns": [6e3] * 3, "start_ns": [0] * 3, "end_ns": end_ns}
        variants.append({"name": variant["name"], **times})
    return {proof.comparison.id: {"status": "ok", "variants": variants, **fields}}


def test_only_the_comparison_s_times_are_reported() -> None:
    proof, traces = searched({0: 18, 24: 12})
    proof = comparison_job(proof, PUBLISH, PHONE, traces)
    result = measured(proof, {**traces, **compared(proof)})
    assert result is not None
    assert (result.plan_us, result.cpu_us, result.gpu_us, result.repetitions) == (10, 20, 30, 3)
    assert (result.search_cut, result.search_us) == (24, 40)


def test_halves_are_compared_with_the_joint_run() -> None:
    proof = comparison_job(LayerProof(decision(), {}), PUBLISH, PHONE, {})
    found = halves_together(proof, compared(proof))
    assert found is not None
    assert (found.cut, found.threads) == (32, 1)
    # The joint run is the first variant, the halves are the fourth and the fifth.
    assert (found.cpu_alone_us, found.cpu_joint_us, found.cpu_slowdown) == (40, 6, 0.15)
    assert (found.gpu_alone_us, found.gpu_joint_us) == (10, 2)
    assert found.gpu_slowdown == pytest.approx(0.2)


def test_the_plan_of_the_predictors_alone_is_measured_beside_the_calibrated_one() -> None:
    proof = comparison_job(LayerProof(decision(), {}, first=decision(cut=48)), PUBLISH, PHONE, {})
    assert proof.comparison is not None
    names = [variant["name"] for variant in proof.comparison.body["variants"]]
    assert names[3] == "cut=48 threads=1 join=event_wait"
    assert first_us(proof, compared(proof)) == 40
    assert first_us(proof, {}) is None
    same = comparison_job(LayerProof(decision(), {}, first=decision()), PUBLISH, PHONE, {})
    assert first_us(same, compared(same)) == 10
    assert first_us(LayerProof(decision(), {}), {}) is None


def test_the_search_has_the_predictors_own_cut_too() -> None:
    proof = search_jobs(decision(cut=28), PUBLISH, PHONE, "event_wait", decision(cut=60))
    assert {28, 60} <= {way.cut for way in proof.search}


def test_halves_that_convert_are_not_compared() -> None:
    phone = replace(PHONE, conditions=Conditions(precision="fp16_fp32"))
    proof = comparison_job(LayerProof(decision(), {}), PUBLISH, phone, {})
    assert proof.comparison is not None
    assert len(proof.comparison.body["variants"]) == 3
    assert halves_together(proof, compared(proof)) is None
    assert measured(proof, compared(proof)) is not None


@pytest.mark.parametrize("status", ["noisy", "wrong_result"])
def test_a_comparison_that_failed_says_nothing(status: str) -> None:
    proof = comparison_job(LayerProof(decision(), {}), PUBLISH, PHONE, {})
    assert measured(proof, compared(proof, status=status)) is None
    assert halves_together(proof, compared(proof, status=status)) is None
    assert measured(proof, {}) is None
    assert measured(LayerProof(decision(), {}), {}) is None

from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import CUT_MULTIPLE, Linear
from splitfleet.pipeline.campaign import Campaign, load_campaign
from splitfleet.pipeline.profile import big_core_mask
from splitfleet.pipeline.sampling import plan_jobs, sample_operators

from .campaigns import write_campaign
from .profiles import profile


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return load_campaign(write_campaign(tmp_path, samples=60))


def test_the_sample_is_the_same_each_time(campaign: Campaign) -> None:
    assert sample_operators(campaign) == sample_operators(campaign)


def test_the_sample_has_the_layers_slices_and_neighbours(campaign: Campaign) -> None:
    operators = sample_operators(campaign)
    assert len(operators) == len(set(operators)) == 62
    layers = [layer.operator for layer in campaign.layers]
    assert set(layers) <= set(operators)
    slices = [op for op in operators if op.with_channels(96) == layers[0] or op.with_channels(32) == layers[1]]
    assert 15 < len(slices) < 50
    assert all(op.channels % CUT_MULTIPLE == 0 for op in operators)


def test_an_explicit_cut_adds_both_halves(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, samples=0)
    path.write_text(path.read_text().replace("conv2d = 2", "conv2d = 0").replace("out = 96", "out = 96\ncut = [20]"))
    assert sample_operators(load_campaign(path)) == [Linear(8, 64, 20), Linear(8, 64, 76)]


def test_jobs_of_two_classes_share_no_id(campaign: Campaign) -> None:
    first = {job.id for job in plan_jobs(campaign, profile("A"))}
    second = {job.id for job in plan_jobs(campaign, profile("B"))}
    assert len(first) == len(second) == 62 + 62 + 1
    assert not first & second


def test_a_new_driver_is_a_new_class() -> None:
    assert profile().device_class != profile(driver_version="2").device_class
    assert profile().device_class == profile().device_class


def test_threads_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace("[measure]", "[measure]\nthreads = [1, 2, 4]"))
    jobs = plan_jobs(load_campaign(path), profile(cores=2))
    assert {job.body["threads"] for job in jobs if job.kind == "cpu"} == {1, 2}


def test_all_threads_are_one_to_the_number_of_cores(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace("[measure]", '[measure]\nthreads = "all"'))
    jobs = plan_jobs(load_campaign(path), profile(cores=3))
    assert {job.body["threads"] for job in jobs if job.kind == "cpu"} == {1, 2, 3}


def test_no_thread_count_fits(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace("[measure]", "[measure]\nthreads = [4]"))
    with pytest.raises(UserError, match="add 2 to measure"):
        plan_jobs(load_campaign(path), profile(cores=2))


def test_polling_needs_shared_memory(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace('["event_wait"]', '["svm_poll", "finish"]'))
    joins = {svm: plan_jobs(load_campaign(path), profile(svm=svm)) for svm in (True, False)}
    assert {job.body["join"] for job in joins[True] if job.kind == "sync"} == {"svm_poll", "finish"}
    assert {job.body["join"] for job in joins[False] if job.kind == "sync"} == {"finish"}


@pytest.mark.parametrize(
    ("frequencies", "mask"),
    [([1, 1, 2, 3], 0b1100), ([2, 2], 0b11), ([None, None], 0b11), ([2], 0b1)],
)
def test_big_cores_are_those_above_the_slowest(frequencies: list[int | None], mask: int) -> None:
    assert big_core_mask([{"id": i, "max_khz": value} for i, value in enumerate(frequencies)]) == mask

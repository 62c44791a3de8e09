from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import CUT_MULTIPLE, Linear, slice_output
from splitfleet.pipeline.campaign import Campaign, load_campaign
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.profile import big_core_mask
from splitfleet.pipeline.sampling import plan_jobs, sample_joint, sample_operators
from splitfleet.predictors.checked_joins import CheckedJoins

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


def test_depthwise_layers_and_pools_have_slices_and_neighbours(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, samples=0)
    text = path.read_text().replace("conv2d = 2", "conv2d = 0, depthwise_conv2d = 20, pool2d = 12")
    window = "height = 14\nwidth = 14\nchannels = 96\nkernel = 3\nstride = 2\npadding = 1\n"
    text += f'[[layers]]\nname = "d"\ntype = "depthwise_conv2d"\nepilogue = "relu6"\n{window}'
    text += f'[[layers]]\nname = "p"\ntype = "pool2d"\nmode = "max"\n{window}'
    path.write_text(text)
    campaign = load_campaign(path)
    operators = sample_operators(campaign)
    for layer, count in ((campaign.layers[-2].operator, 20), (campaign.layers[-1].operator, 12)):
        of_type = [operator for operator in operators if operator.type == layer.type]
        assert len(of_type) == count
        assert layer in of_type
        assert all(operator.epilogue_name == layer.epilogue_name for operator in of_type)
        slices = [operator for operator in of_type if operator.with_channels(96) == layer]
        assert 2 < len(slices) < count


def test_rows_that_vary_are_measured_from_the_first_to_the_last(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, samples=40)
    path.write_text(path.read_text().replace("rows = 8", "rows = [1, 100]"))
    operators = sample_operators(load_campaign(path))
    rows = {operator.rows for operator in operators if isinstance(operator, Linear)}
    assert {1, 2, 4, 8, 16, 32, 64, 100} <= rows


def test_an_explicit_cut_adds_both_halves(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, samples=0)
    path.write_text(path.read_text().replace("conv2d = 2", "conv2d = 0").replace("out = 96", "out = 96\ncut = [20]"))
    assert sample_operators(load_campaign(path)) == [Linear(8, 64, 20), Linear(8, 64, 76)]


def test_some_layers_are_executed_by_both_and_their_halves_alone(tmp_path: Path) -> None:
    campaign = load_campaign(write_campaign(tmp_path, samples=60, joint=0.2))
    joint, operators = sample_joint(campaign), sample_operators(campaign)
    assert 0 < len(joint) <= round(campaign.measure.coexec_share * 60)
    for layer, cut in joint:
        assert {slice_output(layer, 0, cut), slice_output(layer, cut, layer.channels)} <= set(operators)
    bodies = [job.body for job in plan_jobs(campaign, profile()) if job.kind == "coexec"]
    assert [(body["operator"], body["cut"]) for body in bodies] == [(layer.to_json(), cut) for layer, cut in joint]


def test_no_share_of_joint_executions_measures_none(campaign: Campaign) -> None:
    assert sample_joint(campaign) == []


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


def sync_jobs(tmp_path: Path, before: int) -> list[Job]:
    path = write_campaign(tmp_path)
    text = path.read_text().replace('joins = ["event_wait"]', 'threads = "all"').replace("checked_joins = 10\n", "")
    path.write_text(text)
    jobs = plan_jobs(load_campaign(path), profile(cores=2), CheckedJoins(before))
    return [job for job in jobs if job.kind == "sync"]


@pytest.mark.parametrize(("before", "to_check"), [(0, 1_000_000), (800_000, 200_000), (2_000_000, 2_000)])
def test_what_is_left_of_a_million_polled_joins_is_checked(tmp_path: Path, before: int, to_check: int) -> None:
    jobs = sync_jobs(tmp_path, before)
    polling = [job.body for job in jobs if job.body["join"] == "svm_poll"]
    assert sum(body["checked_joins"] for body in polling) == to_check
    assert {body["threads"] for body in polling} == {1, 2}
    assert max(body["checked_joins"] for body in polling) <= 50_000
    assert len({job.id for job in jobs}) == len(jobs)


def test_other_joins_need_no_million(tmp_path: Path) -> None:
    others = [job.body for job in sync_jobs(tmp_path, 0) if job.body["join"] != "svm_poll"]
    assert [(body["join"], body["threads"], body["checked_joins"]) for body in others] == [
        (join, threads, 1_000) for join in ("event_wait", "finish") for threads in (1, 2)
    ]


@pytest.mark.parametrize(
    ("frequencies", "mask"),
    [([1, 1, 2, 3], 0b1100), ([2, 2], 0b11), ([None, None], 0b11), ([2], 0b1)],
)
def test_big_cores_are_those_above_the_slowest(frequencies: list[int | None], mask: int) -> None:
    assert big_core_mask([{"id": i, "max_khz": value} for i, value in enumerate(frequencies)]) == mask


def test_a_hosts_many_cores_fit_the_agents_mask() -> None:
    assert big_core_mask([{"id": number, "max_khz": None} for number in range(96)]) == (1 << 63) - 1


@pytest.mark.parametrize(("images", "operations"), [([1024, 1024], 8), ([0, 0], 6)])
def test_transfers_are_those_that_the_device_can_do(tmp_path: Path, images: list[int], operations: int) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace("transfers = []", "transfers = [4096, 65536, 1048576]"))
    phone = profile(image2d_max=images, max_alloc_bytes=65536)
    jobs = [job for job in plan_jobs(load_campaign(path), phone) if job.kind == "transfer"]
    assert len({job.body["operation"] for job in jobs}) == operations
    assert {job.body["bytes"] for job in jobs} == {4096, 65536}


def test_chains_are_jobs_of_their_own(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace("[measure]", '[measure]\nmodes = ["single", "chain"]\nchain_length = 5'))
    jobs = [job.body for job in plan_jobs(load_campaign(path), profile()) if job.kind == "gpu"]
    assert [job.get("chain_length") for job in jobs] == [None] * 5 + [5] * 5
    assert [job["mode"] for job in jobs] == ["single"] * 5 + ["chain"] * 5

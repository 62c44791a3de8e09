from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.kernels import (
    Device,
    DeviceError,
    LaunchPlan,
    Linear,
    Operator,
    UserError,
    cuts,
    lower,
    lower_channels,
    lower_half,
    lower_many,
    lower_sync,
)

from .strategies import devices, operators

PHONE = Device("a GPU", "a vendor", 2, 256, (256, 256, 64), 4, 2**30, True, True)


@given(operators(), devices())
def test_plan_round_trips_through_json(operator: Operator, device: Device) -> None:
    plan = lower(operator, device)
    assert LaunchPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(operators(), devices())
def test_launches_keep_the_devices_limits_and_cover_the_output(operator: Operator, device: Device) -> None:
    plan = lower(operator, device)
    q = plan.quantities
    for launch in (*plan.setup, *plan.launches):
        assert np.prod(launch.local_size) <= device.max_work_group_size
        for size, local, limit in zip(launch.global_size, launch.local_size, device.max_work_item_sizes, strict=False):
            assert size % local == 0
            assert local <= limit
    m, n, _ = operator.matmul
    assert q["threads"] * q["block_rows"] * q["panel"] >= m * n * q["sharing_items"]
    last = plan.launches[-1]
    work_groups = np.prod(last.global_size) // np.prod(last.local_size)
    assert plan.signals == (work_groups if device.in_kernel_signal else 1)
    assert 0 < q["utilisation"] <= 1


@given(st.lists(operators(), min_size=1, max_size=6), devices())
def test_many_at_once_are_lowered_as_each_alone(several: list[Operator], device: Device) -> None:
    table = lower_many(several, device)
    for index, operator in enumerate(several):
        plan = lower(operator, device)
        assert table["kernel"][index] == plan.kernel
        for name, value in plan.quantities.items():
            assert table[name][index] == pytest.approx(value)


@given(operators(), devices())
def test_cuts_of_one_layer_are_lowered_as_its_halves(operator: Operator, device: Device) -> None:
    inside = cuts(operator)
    table = lower_channels(operator, operator.channels - inside, device)
    for index, cut in enumerate(inside[:8]):
        half = lower_half(operator, int(cut), device)
        assert table["kernel"][index] == half.kernel
        assert table["work_groups"][index] == half.quantities["work_groups"]


def test_half_is_placed_inside_the_whole_output() -> None:
    plan = lower_half(Linear(10, 32, 64), 16, PHONE)
    output = next(buffer for buffer in plan.buffers if buffer.role == "output")
    assert (output.row_stride, output.column_offset, output.bytes) == (64, 16, 10 * 64 * 4)


def test_a_cut_off_the_grid_is_refused() -> None:
    with pytest.raises(UserError, match="cut 6 is no multiple of 4"):
        lower_half(Linear(10, 32, 64), 6, PHONE)


def test_a_buffer_beyond_the_devices_limit_names_layer_and_device() -> None:
    small = replace(PHONE, max_alloc_bytes=1000)
    with pytest.raises(DeviceError, match=r"linear:rows=10.*needs 1280 bytes, a GPU allows 1000"):
        lower(Linear(10, 32, 64), small)


def test_a_plan_of_another_kernel_source_is_refused() -> None:
    data = lower(Linear(10, 32, 64), PHONE).to_json()
    with pytest.raises(UserError, match="source has changed"):
        LaunchPlan.from_json(data | {"program": "0" * 16})
    with pytest.raises(UserError, match="unknown kernel"):
        LaunchPlan.from_json(data | {"kernel": "matmul_of_the_future"})
    with pytest.raises(UserError, match="schema 3"):
        LaunchPlan.from_json(data | {"schema": 3})


@given(devices())
def test_the_empty_kernel_covers_its_payload(device: Device) -> None:
    plan = lower_sync(device)
    assert plan.launches[0].global_size[0] * 4 == plan.buffers[0].bytes
    assert plan.launches[0].local_size[0] <= device.max_work_group_size

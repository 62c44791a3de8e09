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


def test_a_device_is_read_from_what_the_agent_reports() -> None:
    opencl = {
        "platform": "QUALCOMM Snapdragon(TM)", "device": "QUALCOMM Adreno(TM)", "vendor": "QUALCOMM",
        "device_version": "OpenCL 2.0 Adreno(TM) 640", "compute_units": 2, "max_work_group_size": 1024,
        "max_work_item_sizes": [1024, 1024, 1024], "preferred_vector_float": 1, "max_alloc_bytes": 2**30,
        "local_bytes": 32768, "constant_bytes": 65536, "image2d_max": [16384, 16384], "extensions": ["cl_khr_fp16"],
        "svm": {"coarse": True, "fine_buffer": True, "fine_system": False, "atomics": False},
    }  # fmt: skip
    device = Device.from_capabilities({"agent": {"architecture": "aarch64"}, "opencl": opencl})
    assert (device.vendor_family, device.generation) == ("adreno", "640")
    assert (device.has_fp16, device.has_images, device.svm_polling) == (True, True, False)
    assert (device.local_bytes, device.constant_bytes) == (32768, 65536)
    old = {key: value for key, value in opencl.items() if key not in ("constant_bytes", "extensions", "image2d_max")}
    device = Device.from_capabilities({"agent": {"architecture": "aarch64"}, "opencl": old})
    assert (device.has_fp16, device.has_images, device.constant_bytes) == (False, False, 65536)
    with pytest.raises(DeviceError, match="no usable OpenCL: tried libOpenCL"):
        Device.from_capabilities({"opencl": None, "opencl_error": "tried libOpenCL.so"})


def test_half_arithmetic_needs_the_extension() -> None:
    with pytest.raises(DeviceError, match="use precision fp16_fp32"):
        lower(Linear(10, 32, 64), PHONE, precision="fp16")
    able = replace(PHONE, extensions=frozenset({"cl_khr_fp16"}))
    assert lower(Linear(10, 32, 64), able, precision="fp16").precision == "fp16"


def test_a_half_of_stored_halves_converts_its_input() -> None:
    operator = Linear(10, 32, 64, "add")
    whole = lower(operator, PHONE, precision="fp16_fp32")
    assert {buffer.role: buffer.type for buffer in whole.buffers} == dict.fromkeys(
        ("input", "weights", "output", "residual"), "f16"
    )
    half = lower_half(operator, 16, PHONE, precision="fp16_fp32")
    types = {buffer.role: (buffer.type, buffer.bytes) for buffer in half.buffers}
    assert types["input"] == ("f32", 10 * 32 * 4)
    assert types["scratch"] == ("f16", 10 * 32 * 2)
    assert types["output"] == types["residual"] == ("f32", 10 * 64 * 4)
    assert [launch.kernel for launch in half.launches] == ["convert_input", half.kernel]
    assert (half.quantities["launches"], half.quantities["converted_bytes"]) == (2, 10 * 32 * 6)
    assert (whole.quantities["launches"], whole.quantities["converted_bytes"]) == (1, 0)
    table = lower_channels(operator, np.array([48, 64]), PHONE, precision="fp16_fp32")
    assert list(table["kernel"]) == [half.kernel, whole.kernel]

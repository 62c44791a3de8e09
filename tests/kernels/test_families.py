"""Every kernel family on shapes that it can compute, chosen by the rules or not, whole and cut, against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from splitfleet.kernels import Conv2d, Device, Linear, Operator, cuts, lower, lower_half, reference
from splitfleet.kernels.operators import EPILOGUES
from splitfleet.kernels.precision import Precision
from splitfleet.kernels.rules import possible
from splitfleet.kernels.runner import Runner, operator_tensors
from splitfleet.kernels.tables import shapes_of_many

from .forced import only
from .strategies import devices

FP32_ERROR = 1e-5  # of the largest output: far below the plans' tolerance, above what Winograd rounds

_CHANNELS = st.one_of(st.sampled_from([1, 3, 4, 5, 8, 13, 16, 17, 31, 36]), st.integers(1, 50))
_EPILOGUES = st.sampled_from(EPILOGUES)


def _convolutions(
    channels: st.SearchStrategy[int] = _CHANNELS, **own: st.SearchStrategy[int]
) -> st.SearchStrategy[Operator]:
    sizes = {
        "height": st.integers(1, 13),
        "width": st.integers(1, 13),
        "in_channels": st.integers(1, 20),
        "kernel_h": st.integers(1, 4),
        "kernel_w": st.integers(1, 4),
        "stride": st.integers(1, 3),
        "pad_h": st.integers(0, 4),
        "pad_w": st.integers(0, 4),
    }
    drawn = st.fixed_dictionaries({**sizes, **own, "out_channels": channels, "epilogue": _EPILOGUES})

    def fits(size: dict[str, int]) -> bool:
        down = size["height"] + 2 * size["pad_h"] >= size["kernel_h"]
        return down and size["width"] + 2 * size["pad_w"] >= size["kernel_w"]

    return drawn.filter(fits).map(lambda size: Conv2d(**size))


def _linears(rows: st.SearchStrategy[int]) -> st.SearchStrategy[Operator]:
    return st.builds(Linear, rows=rows, in_features=_CHANNELS, out_features=_CHANNELS, epilogue=_EPILOGUES)


OPERATORS = {
    "matvec": _linears(st.integers(1, 11)),
    "matmul_tiled": _linears(st.integers(1, 150)),
    "conv_direct": _convolutions(),
    "conv_constant": _convolutions(st.integers(1, possible.CONSTANT_MOST_CHANNELS)),
    "winograd": _convolutions(
        in_channels=st.integers(1, 9).map(lambda n: 4 * n), kernel_h=st.just(3), kernel_w=st.just(3), stride=st.just(1)
    ),
    "conv_image": st.one_of(_convolutions(), _linears(st.integers(1, 30))),
}


def _like_a_gpu(device: Device, name: str, vector: int, work_group: int, signal: bool) -> Device:
    """PoCL under the rules of a GPU, which go by name."""
    return replace(
        device,
        name=name,
        platform="",
        version="",
        vendor="",
        preferred_vector_float=vector,
        max_work_group_size=work_group,
        in_kernel_signal=signal,
    )


# PoCL takes a second or more to compile each example, and ten for Winograd's three unrolled kernels. Many more shapes
# of the kernels that the rules choose are in test_kernels.py.
EXAMPLES = {"winograd": 2}


@pytest.mark.parametrize("family", OPERATORS)
def test_family_agrees_with_numpy(runner: Runner, family: str) -> None:
    @settings(max_examples=EXAMPLES.get(family, 5), deadline=None)
    @given(st.data())
    def agrees(data: st.DataObject) -> None:
        _check_family(runner, family, data)

    agrees()


def _check_family(runner: Runner, family: str, data: st.DataObject) -> None:
    operator = data.draw(OPERATORS[family])
    gpu = (st.sampled_from(["Adreno (TM) 640", "Mali-G76", "a GPU"]), st.sampled_from([1, 4]))
    own = st.just(replace(runner.device, in_kernel_signal=True))
    device = data.draw(
        own | st.builds(_like_a_gpu, st.just(runner.device), *gpu, st.sampled_from([4, 64, 4096]), st.booleans())
    )
    assume(family != "matmul_tiled" or device.max_work_group_size >= possible.TILED_LANES**2)
    precision: Precision = data.draw(st.sampled_from(["fp32", "fp16_fp32"]))
    inputs, weights, residual = operator_tensors(operator, seed=operator.channels)
    expected = reference(operator, inputs, weights, residual)
    inside = cuts(operator)
    cut = int(data.draw(st.sampled_from([0, *inside.tolist()])))
    with only(family):
        plan = (
            lower_half(operator, cut, device, precision=precision)
            if cut
            else lower(operator, device, precision=precision)
        )
    output, _ = runner.run(plan, inputs, weights[:, cut:], residual)
    assert np.isnan(output[:, :cut]).all(), "the GPU's half wrote into the CPU's channels"
    error = np.abs(output[:, cut:] - expected[:, cut:]).max() / max(np.abs(expected).max(), 1e-3)
    assert error < (FP32_ERROR if precision == "fp32" else plan.tolerance), plan.kernel


@pytest.mark.parametrize("family", OPERATORS)
@settings(max_examples=60, deadline=None)
@given(st.data(), devices())
def test_every_launch_keeps_the_devices_limits(family: str, data: st.DataObject, device: Device) -> None:
    operator = data.draw(OPERATORS[family])
    if family == "matmul_tiled":
        assume(possible.matmul_tiled(_shape(operator), device, "fp32"))
    with only(family):
        plan = lower(operator, replace(device, image2d_max=(2048, 2048)))
    for launch in (*plan.setup, *plan.launches):
        assert all(size % local == 0 for size, local in zip(launch.global_size, launch.local_size, strict=True))
        assert np.prod(launch.local_size) <= device.max_work_group_size
        assert all(np.less_equal(launch.local_size, device.max_work_item_sizes[: len(launch.local_size)]))
    q = plan.quantities
    m, n, _ = operator.matmul
    assert q["threads"] * q["block_rows"] * q["panel"] >= m * n * q["sharing_items"]
    assert 0 < q["utilisation"] <= 1


LAYERS = {
    "matmul_tiled": [Linear(130, 777, 131)],
    "matvec": [Linear(1, 768, 1000), Linear(5, 777, 100)],
    "winograd": [Conv2d(14, 14, 256, 96, 3, 3, 1, 1, 1), Conv2d(29, 7, 64, 40, 3, 3, 1, 0, 2)],
    "conv_image": [Conv2d(14, 14, 128, 64, 3, 3, 2, 1, 1), Linear(50, 768, 100)],
    "conv_direct": [Conv2d(31, 31, 3, 64, 7, 7, 2, 3, 3)],
    "conv_constant": [Conv2d(31, 31, 3, 32, 3, 3, 2, 1, 1)],
}


@pytest.mark.parametrize(
    ("family", "operator"), [(family, op) for family, ops in LAYERS.items() for op in ops], ids=str
)
@pytest.mark.parametrize("precision", ["fp32", "fp16_fp32"])
def test_deep_sums_keep_the_plans_tolerance(
    runner: Runner, family: str, operator: Operator, precision: Precision
) -> None:
    inputs, weights, _ = operator_tensors(operator, seed=1)
    expected = reference(operator, inputs, weights)
    with only(family):
        plan = lower(operator, runner.device, precision=precision)
    output, _ = runner.run(plan, inputs, weights)
    error = np.abs(output - expected).max() / np.abs(expected).max()
    assert error < (FP32_ERROR if precision == "fp32" else plan.tolerance / 2)


def _shape(operator: Operator) -> dict[str, np.ndarray]:
    return shapes_of_many([operator])


def test_possible_knows_what_a_family_cannot_compute() -> None:
    device = Device("a GPU", "a vendor", 2, 256, (256, 256, 64), 4, 2**24, True, True, image2d_max=(2048, 2048))
    assert possible.matvec(_shape(Linear(8, 3, 3)))
    assert not possible.matvec(_shape(Linear(9, 3, 3)))
    assert possible.matmul_tiled(_shape(Linear(9, 3, 3)), device, "fp32")
    assert not possible.matmul_tiled(_shape(Linear(9, 3, 3)), replace(device, max_work_group_size=128), "fp32")
    assert not possible.matmul_tiled(_shape(Linear(9, 3, 3)), replace(device, local_bytes=8192), "fp32")
    assert possible.winograd(_shape(Conv2d(56, 56, 64, 64, 3, 3, 1, 1, 1)), device, "fp32")
    assert not possible.winograd(_shape(Conv2d(56, 56, 64, 64, 3, 3, 2, 1, 1)), device, "fp32"), "stride"
    assert not possible.winograd(_shape(Conv2d(7, 7, 512, 512, 3, 3, 1, 1, 1)), device, "fp32"), "memory"
    assert possible.conv_constant(_shape(Conv2d(9, 9, 16, 32, 3, 3, 1, 1, 1)), device, "fp32")
    assert not possible.conv_constant(_shape(Conv2d(9, 9, 16, 36, 3, 3, 1, 1, 1)), device, "fp32"), "channels"
    assert not possible.conv_constant(_shape(Conv2d(9, 9, 64, 32, 3, 3, 1, 1, 1)), device, "fp32"), "constant memory"
    assert possible.conv_image(_shape(Conv2d(9, 32, 256, 32, 3, 3, 1, 1, 1)), device)
    assert not possible.conv_image(_shape(Conv2d(9, 33, 256, 32, 3, 3, 1, 1, 1)), device), "image width"
    assert not possible.conv_image(_shape(Linear(2049, 4, 4)), device), "image height"
    assert not possible.conv_image(_shape(Linear(1, 4, 4)), replace(device, image2d_max=(0, 0))), "no images"

"""Every kernel that lowering can choose, executed on a real OpenCL runtime and compared with NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitfleet.kernels import (
    Conv2d,
    DepthwiseConv2d,
    DeviceError,
    Launch,
    Linear,
    Operator,
    Pool2d,
    Precision,
    cuts,
    lower,
    reference,
)
from splitfleet.kernels.check import Case, described_devices, run_case
from splitfleet.kernels.runner import Runner, operator_tensors, random_tensors

from .strategies import operators

FP32_ERROR = 1e-5  # of the largest output; sums of a few thousand products in fp32

on_opencl = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _error(output: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(output - expected).max() / max(np.abs(expected).max(), 1e-30))


@on_opencl
@given(operators(), st.data(), st.sampled_from(["fp32", "fp16_fp32"]), st.booleans())
def test_whole_and_half_agree_with_numpy(
    runner: Runner, operator: Operator, data: st.DataObject, precision: Precision, signal: bool
) -> None:
    device = replace(data.draw(st.sampled_from(described_devices(runner.device))), in_kernel_signal=signal)
    cut = data.draw(st.sampled_from([0, *cuts(operator).tolist()]))
    outcome = run_case(runner, Case(operator, device, precision, cut))
    assert outcome.is_right
    if precision == "fp32":
        assert outcome.error < FP32_ERROR


@pytest.mark.parametrize(
    "operator",
    [
        Linear(197, 768, 100),
        Linear(1, 2048, 1000, "relu"),
        Conv2d(14, 14, 64, 96, 3, 3, 1, 1, 1, "add_relu"),
        Conv2d(31, 31, 3, 64, 7, 7, 2, 3, 3),
        DepthwiseConv2d(28, 28, 96, 3, 3, 2, 1, 1, "relu6"),
        Pool2d("avg", 7, 7, 1280, 7, 7, 1, 0, 0),
    ],
    ids=lambda op: op.label,
)
def test_true_layers_agree_with_numpy(runner: Runner, operator: Operator) -> None:
    inputs, weights, residual = operator_tensors(operator, seed=1)
    output, times = runner.run(lower(operator, runner.device), inputs, weights, residual)
    assert _error(output, reference(operator, inputs, weights, residual)) < FP32_ERROR
    assert times["queued_ns"] <= times["submit_ns"] <= times["start_ns"] <= times["end_ns"]


def test_reference_is_the_definition_of_a_convolution() -> None:
    conv = Conv2d(5, 4, 2, 3, 3, 2, 2, 1, 0)
    inputs, weights = random_tensors(conv.input_shape, 12, 3, seed=2)
    expected = np.zeros((conv.output_height, conv.output_width, 3))
    for y, x, o, ky, kx, c in np.ndindex(*expected.shape, 3, 2, 2):
        iy, ix = 2 * y + ky - 1, 2 * x + kx
        if 0 <= iy < 5:
            expected[y, x, o] += inputs[iy, ix, c] * weights[(ky * 2 + kx) * 2 + c, o]
    assert _error(reference(conv, inputs, weights), expected.reshape(-1, 3)) < 1e-6


def test_reference_is_the_definition_of_depthwise_and_pooling() -> None:
    depthwise = DepthwiseConv2d(5, 4, 3, 3, 2, 2, 1, 1)
    inputs, weights = random_tensors((5, 4, 3), 6, 3, seed=3)
    shape = (depthwise.output_height, depthwise.output_width, 3)
    sums, counts, largest = np.zeros(shape), np.zeros(shape), np.full(shape, -np.inf)
    products = np.zeros(shape)
    for y, x, c, ky, kx in np.ndindex(*shape, 3, 2):
        iy, ix = 2 * y + ky - 1, 2 * x + kx - 1
        if 0 <= iy < 5 and 0 <= ix < 4:
            products[y, x, c] += inputs[iy, ix, c] * weights[ky * 2 + kx, c]
            sums[y, x, c] += inputs[iy, ix, c]
            counts[y, x, c] += 1
            largest[y, x, c] = max(largest[y, x, c], inputs[iy, ix, c])
    empty = np.empty((0, 3), dtype=np.float32)
    for operator, expected in [
        (depthwise, products),
        (Pool2d("avg", 5, 4, 3, 3, 2, 2, 1, 1), sums / counts),
        (Pool2d("max", 5, 4, 3, 3, 2, 2, 1, 1), largest),
    ]:
        given_weights = weights if operator is depthwise else empty
        assert _error(reference(operator, inputs, given_weights), expected.reshape(-1, 3)) < 1e-6


@pytest.mark.parametrize(
    ("epilogue", "expected"),
    [
        ("none", [-3.0, 2.0, 8.0]),
        ("relu", [0.0, 2.0, 8.0]),
        ("relu6", [0.0, 2.0, 6.0]),
        ("add", [-2.0, 1.0, 8.0]),
        ("add_relu", [0.0, 1.0, 8.0]),
    ],
)
def test_epilogues(runner: Runner, epilogue: str, expected: list[float]) -> None:
    operator = Linear(1, 1, 3, epilogue)
    one, weights = np.ones((1, 1), np.float32), np.array([[-3, 2, 8]], np.float32)
    residual = np.array([[1, -1, 0]], np.float32)
    assert reference(operator, one, weights, residual).tolist() == [expected]
    output, _ = runner.run(lower(operator, runner.device), one, weights, residual)
    assert output.tolist() == [expected]


def test_a_refused_launch_names_kernel_and_device(runner: Runner) -> None:
    plan = lower(Linear(8, 8, 8), runner.device)
    first = plan.launches[0]
    broken = replace(plan, launches=(Launch(first.kernel, first.args, (7, 5), (2, 2)),))
    inputs, weights = random_tensors((8, 8), 8, 8, seed=0)
    with pytest.raises(DeviceError, match=r"matmul_r\dp\d+ on .*"):
        runner.run(broken, inputs, weights)

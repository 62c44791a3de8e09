"""Every kernel that lowering can choose, executed on a real OpenCL runtime and compared with NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitfleet.kernels import Conv2d, DeviceError, Launch, Linear, Operator, cuts, lower, lower_half, reference
from splitfleet.kernels.runner import Runner, random_tensors

from .strategies import operators

TOLERANCE = 1e-5  # of the largest output; sums of a few thousand products in fp32

on_opencl = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _error(output: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(output - expected).max() / max(np.abs(expected).max(), 1e-30))


@on_opencl
@given(operators(), st.data(), st.sampled_from([1, 4, 8]), st.sampled_from([4, 64, 4096]), st.booleans())
def test_whole_and_half_agree_with_numpy(
    runner: Runner, operator: Operator, data: st.DataObject, vector: int, work_group: int, signal: bool
) -> None:
    device = replace(
        runner.device, preferred_vector_float=vector, max_work_group_size=work_group, in_kernel_signal=signal
    )
    _, n, k = operator.matmul
    inputs, weights = random_tensors(operator.input_shape, k, n, seed=n)
    expected = reference(operator, inputs, weights)
    output, times = runner.run(lower(operator, device), inputs, weights)
    assert _error(output, expected) < TOLERANCE
    assert times["queued_ns"] <= times["submit_ns"] <= times["start_ns"] <= times["end_ns"]
    inside = cuts(operator)
    if inside.size:
        cut = int(data.draw(st.sampled_from(inside.tolist())))
        half, _ = runner.run(lower_half(operator, cut, device), inputs, weights[:, cut:])
        assert np.isnan(half[:, :cut]).all(), "the GPU's half wrote into the CPU's channels"
        assert _error(half[:, cut:], expected[:, cut:]) < TOLERANCE


@pytest.mark.parametrize(
    "operator",
    [
        Linear(197, 768, 100),
        Linear(1, 2048, 1000),
        Conv2d(14, 14, 64, 96, 3, 3, 1, 1, 1),
        Conv2d(31, 31, 3, 64, 7, 7, 2, 3, 3),
    ],
    ids=lambda op: op.label,
)
def test_true_layers_agree_with_numpy(runner: Runner, operator: Operator) -> None:
    _, n, k = operator.matmul
    inputs, weights = random_tensors(operator.input_shape, k, n, seed=1)
    output, _ = runner.run(lower(operator, runner.device), inputs, weights)
    assert _error(output, reference(operator, inputs, weights)) < TOLERANCE


def test_reference_is_the_definition_of_a_convolution() -> None:
    conv = Conv2d(5, 4, 2, 3, 3, 2, 2, 1, 0)
    inputs, weights = random_tensors(conv.input_shape, 12, 3, seed=2)
    expected = np.zeros((conv.output_height, conv.output_width, 3))
    for y, x, o, ky, kx, c in np.ndindex(*expected.shape, 3, 2, 2):
        iy, ix = 2 * y + ky - 1, 2 * x + kx
        if 0 <= iy < 5:
            expected[y, x, o] += inputs[iy, ix, c] * weights[(ky * 2 + kx) * 2 + c, o]
    assert _error(reference(conv, inputs, weights), expected.reshape(-1, 3)) < 1e-6


def test_a_refused_launch_names_kernel_and_device(runner: Runner) -> None:
    plan = lower(Linear(8, 8, 8), runner.device)
    first = plan.launches[0]
    broken = replace(plan, launches=(Launch(first.kernel, first.args, (7, 5), (2, 2)),))
    inputs, weights = random_tensors((8, 8), 8, 8, seed=0)
    with pytest.raises(DeviceError, match=r"matmul_r\dp\d+ on .*"):
        runner.run(broken, inputs, weights)

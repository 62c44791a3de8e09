from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.kernels import (
    Conv2d,
    Linear,
    Operator,
    UserError,
    cuts,
    operator_from_json,
    parse_operator,
    slice_output,
)

from .strategies import operators


@given(operators())
def test_json_and_text_give_the_operator_back(operator: Operator) -> None:
    assert operator_from_json(json.loads(json.dumps(operator.to_json()))) == operator
    assert parse_operator(operator.label) == operator


def test_sizes_of_a_resnet_layer() -> None:
    conv = Conv2d(56, 56, 64, 128, 3, 3, 2, 1, 1)
    assert conv.output_shape == (28, 28, 128)
    assert conv.matmul == (784, 128, 576)
    assert conv.flops == 2 * 784 * 128 * 576
    assert (conv.input_bytes, conv.weight_bytes, conv.output_bytes) == (802816, 294912, 401408)


@given(operators(), st.data())
def test_slices_add_up_to_the_whole(operator: Operator, data: st.DataObject) -> None:
    inside = cuts(operator)
    if operator.channels <= 4:
        assert inside.size == 0
        return
    cut = int(data.draw(st.sampled_from(inside.tolist())))
    first, second = slice_output(operator, 0, cut), slice_output(operator, cut, operator.channels)
    assert first.channels + second.channels == operator.channels
    assert first.flops + second.flops == operator.flops
    assert first.weight_bytes + second.weight_bytes == operator.weight_bytes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("matmul:rows=1", "unknown type 'matmul'"),
        ("linear:rows=1,in=2", "out is missing"),
        ("linear:rows=1,in=2,out=3,depth=4", "cannot read 'depth=4'"),
        ("linear:rows=-1,in=2,out=3", "rows must be an integer of at least 1, not -1"),
        ("linear:rows=x,in=2,out=3", "rows must be a whole number, not 'x'"),
        ("linear:rows=100000,in=2,out=100000", "more than 2147483647 elements"),
        ("conv2d:h=4,w=4,in=1,out=4,k=7", "the kernel is larger than the padded input"),
    ],
)
def test_bad_text_is_told_precisely(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_operator(text)


@pytest.mark.parametrize("data", [{"type": "linear", "rows": 1}, {"type": "x"}, {}, {"type": "linear", "rows": True}])
def test_bad_json_is_a_users_error(data: dict[str, object]) -> None:
    with pytest.raises(UserError):
        operator_from_json(data)


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 8), (8, 8), (0, 12), (-4, 8)])
def test_slices_outside_the_layer_or_off_the_grid_are_refused(start: int, stop: int) -> None:
    with pytest.raises(UserError):
        slice_output(Linear(1, 1, 10), start, stop)

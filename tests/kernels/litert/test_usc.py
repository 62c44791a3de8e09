from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Linear, UserError
from splitfleet.kernels.litert.usc import OPERATIONS, operator_of, read_recorded

from .recordings import GOOD, HEADER, conv_feature, depthwise_feature, linear_feature, write


def test_rows_become_operators_with_a_time_and_a_kernel_for_each_phone(tmp_path: Path) -> None:
    rows = read_recorded(write(tmp_path / "ops.csv", GOOD))
    assert [(row.line, row.phone, row.latency_us) for row in rows] == [
        (2, "pixel4", 100.5),
        (2, "s10", 90),
        (4, "pixel4", 7.5),
        (4, "s10", 8),
        (5, "s10", 50),
        (6, "pixel4", 9),
        (7, "pixel4", 2),
    ]
    assert rows[1].kernel == "convolution_winograd_4x4_6x6_1"
    assert rows[0].operator == Conv2d(56, 56, 64, 64, 3, 3, 1, 1, 1)
    assert rows[4].operator == Conv2d(230, 230, 3, 64, 7, 7, 2, 0, 0)
    assert rows[5].operator == Linear(1, 512, 1000)
    # a padding layer in front of it has made 16 pixels of 14
    assert rows[6].operator == DepthwiseConv2d(14, 14, 96, 3, 3, 1, 1, 1)


@pytest.mark.parametrize(
    ("operation", "feature", "fields", "message"),
    [
        ("CONV_2D", "{'Input_shape': '8'", [1, "k", 1, "k"], "feature is no dict literal: \"{'Input_shape'"),
        ("CONV_2D", "[1]", [1, "k", 1, "k"], "feature is no dict literal"),
        ("CONV_2D", "__import__('os')", [1, "k", 1, "k"], "feature is no dict literal"),
        ("CONV_2D", conv_feature() | {"Kernel": "-"}, [1, "k", 1, "k"], "Kernel must be a whole number .* not '-'"),
        ("CONV_2D", conv_feature() | {"Stride": "0"}, [1, "k", 1, "k"], "Stride must be .* at least 1, not '0'"),
        ("CONV_2D", linear_feature(), [1, "k", 1, "k"], "Input_shape must be a whole number"),
        (
            "CONV_2D",
            conv_feature() | {"FLOPS": "12"},
            [1, "k", 1, "k"],
            "conv2d:h=56.*is of 231211008 FLOPs, .* says 12",
        ),
        ("CONV_2D", conv_feature(output=55), [1, "k", 1, "k"], "no padding makes 55 pixels of 56 with kernel 3"),
        ("CONV_2D", conv_feature(), [1, "k", 1], "not 7 fields"),
        ("CONV_2D", conv_feature(), [1, "k", 1, "k", 1], "not 7 fields"),
        ("CONV_2D", conv_feature(), ["fast", "k", 1, "k"], "pixel4: latency 'fast' us and kernel 'k' do not make"),
        ("CONV_2D", conv_feature(), [1, "k", "-3", "k"], "s10: latency '-3' us"),
        ("CONV_2D", conv_feature(), [1, "k", "nan", "k"], "s10: latency 'nan' us"),
        ("CONV_2D", conv_feature(), [1, "", 1, "k"], "pixel4: latency '1' us and kernel ''"),
        ("CONV_2D", conv_feature(), ["", "k", 1, "k"], "pixel4: latency '' us and kernel 'k'"),
        ("DEPTHWISE_CONV_2D", depthwise_feature() | {"Filter": "2"}, [1, "k", 1, "k"], "a depthwise .* of 2 outputs"),
        ("FULLY_CONNECTED", linear_feature() | {"Filter": "1e3"}, [1, "k", 1, "k"], "Filter must be a whole number"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    tmp_path: Path, operation: str, feature: object, fields: list[object], message: str
) -> None:
    path = write(tmp_path / "ops.csv", [*GOOD, (operation, feature, fields)])
    with pytest.raises(UserError, match=rf"ops\.csv, line 8: {message}"):
        read_recorded(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.csv: cannot be read"):
        read_recorded(tmp_path / "missing.csv")
    (tmp_path / "image").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="image: cannot be read"):
        read_recorded(tmp_path / "image")
    for header in ([], HEADER[:3], ["model", *HEADER[3:]], [name for name in HEADER if name != "s10|gpu|float"]):
        with pytest.raises(UserError, match=r"line \d: no column .*expected USC's tflite_cnn_ops_gpu"):
            read_recorded(write(tmp_path / "ops.csv", [], header))


@given(st.sampled_from(OPERATIONS), st.one_of(st.text(), st.dictionaries(st.text(), st.integers()).map(str)))
def test_any_text_is_an_operator_or_a_users_error(operation: str, feature: str) -> None:
    with pytest.raises(UserError):
        operator_of(operation, feature)


@given(st.integers(1, 64), st.integers(1, 300), st.integers(1, 3), st.sampled_from([1, 3, 5, 7]), st.booleans())
def test_padding_follows_from_the_sides(side: int, channels: int, stride: int, kernel: int, padded: bool) -> None:
    output = -(-side // stride) if padded else (side - kernel) // stride + 1
    if output < 1:
        return
    operator = operator_of("CONV_2D", str(conv_feature(side, channels, output, stride, kernel)))
    assert operator.output_shape[:2] == (output, output)


@given(st.integers(1, 64), st.integers(1, 300), st.integers(1, 2), st.sampled_from([1, 3, 5, 7]))
def test_a_padding_layer_is_merged_into_a_depthwise_convolution(
    side: int, channels: int, stride: int, kernel: int
) -> None:
    padded = side + 2 * (kernel // 2)
    output = (padded - kernel) // stride + 1
    operator = operator_of("DEPTHWISE_CONV_2D", str(depthwise_feature(padded, channels, output, stride, kernel)))
    assert operator.output_shape == (output, output, channels)

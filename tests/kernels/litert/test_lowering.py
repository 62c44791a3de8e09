"""Dispatch against figures worked out by hand from the published rules, and what must hold of any operator."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitfleet.kernels import Device, Operator, UserError, parse_operator
from splitfleet.kernels import lower_many as lower_our_own
from splitfleet.kernels.litert import PRECISIONS, LitertGpu, lower_many
from splitfleet.predictors.features import GPU_FEATURES, Vocabulary, gpu_features

from ..strategies import operators

GPUS = (
    "Adreno 330", "Adreno 640", "Adreno 740", "Mali-T880", "Mali-G71", "Mali-G76 MP12", "Mali-G78", "PowerVR GE8320",
    "Apple A10", "Apple A12",
)  # fmt: skip


def lower(text: str, gpu: str, precision: str = "fp16") -> pd.Series[object]:
    return lower_many([parse_operator(text)], LitertGpu.from_name(gpu), precision).iloc[0]


def conv(side: int, channels_in: int, channels_out: int, kernel: int = 1) -> str:
    return f"conv2d:h={side},w={side},in={channels_in},out={channels_out},k={kernel},pad={kernel // 2}"


def block(row: pd.Series[object]) -> tuple[object, ...]:
    return row["block_x"], row["block_y"], row["block_slices"]


def local(row: pd.Series[object]) -> tuple[object, ...]:
    return row["local_x"], row["local_y"], row["local_z"]


@pytest.mark.parametrize(
    ("gpu", "operator", "family"),
    [
        # 16 slices of input and output and 32 tiles of 4x4, except on Adreno: 32 slices, 128 tiles or 64 from 7xx on
        ("Mali-G76", "conv2d:h=16,w=32,in=64,out=61,k=3,pad=1", "winograd_4x4_6x6"),
        ("Mali-G76", "conv2d:h=16,w=32,in=60,out=64,k=3,pad=1", "conv_generic"),
        ("Mali-G76", "conv2d:h=16,w=32,in=64,out=60,k=3,pad=1", "conv_generic"),
        ("Mali-G76", "conv2d:h=16,w=28,in=64,out=64,k=3,pad=1", "conv_generic"),
        ("Mali-G76", "conv2d:h=16,w=29,in=64,out=64,k=3,pad=1", "winograd_4x4_6x6"),
        ("Mali-G76", "conv2d:h=32,w=64,in=64,out=64,k=3,stride=2,pad=1", "conv_generic"),
        ("Mali-G76", "conv2d:h=32,w=64,in=64,out=64,k=1x3,pad=0x1", "conv_generic"),
        ("PowerVR GE8320", "conv2d:h=16,w=32,in=64,out=64,k=3,pad=1", "winograd_4x4_6x6"),
        ("Apple A12", "conv2d:h=16,w=32,in=64,out=64,k=3,pad=1", "winograd_4x4_6x6"),
        ("Adreno 640", "conv2d:h=32,w=64,in=128,out=128,k=3,pad=1", "winograd_4x4_6x6"),
        ("Adreno 640", "conv2d:h=32,w=60,in=128,out=128,k=3,pad=1", "conv_generic"),
        ("Adreno 640", "conv2d:h=32,w=64,in=124,out=128,k=3,pad=1", "conv_generic"),
        ("Adreno 740", "conv2d:h=32,w=32,in=128,out=128,k=3,pad=1", "winograd_4x4_6x6"),
        # weights in constant memory: 3584 bytes on Adreno 6xx and 7xx, 2560 before, nowhere else, 8 slices of output
        ("Adreno 640", conv(28, 112, 16), "conv_constants"),
        ("Adreno 640", conv(28, 113, 16), "conv_generic"),
        ("Adreno 540", conv(28, 112, 16), "conv_generic"),
        ("Adreno 540", conv(28, 80, 16), "conv_constants"),
        ("Adreno 640", conv(28, 8, 33), "conv_generic"),
        ("Mali-G76", conv(28, 8, 16), "conv_generic"),
        # three outputs of whole input slices are dot products: 3 x 64 x 9 x 2 bytes, not 64 x 4 x 9 x 2
        ("Adreno 640", conv(28, 64, 3, kernel=3), "conv_constants"),
        ("Adreno 640", conv(28, 64, 4, kernel=3), "conv_generic"),
        # one pixel is a fully connected layer; many rows are a batch
        ("Adreno 640", "conv2d:h=1,w=1,in=512,out=128,k=1", "fully_connected"),
        ("Adreno 640", "linear:rows=1,in=512,out=128", "fully_connected"),
        ("Adreno 640", "linear:rows=2,in=512,out=128", "conv_generic"),
        # depthwise: 3x3 of stride 1 behind one pixel of padding, on Mali only where it reads textures well
        ("Adreno 640", "depthwise:h=14,w=14,c=96,k=3,pad=1", "depthwise_3x3"),
        ("Adreno 640", "depthwise:h=14,w=14,c=96,k=3", "depthwise"),
        ("Adreno 640", "depthwise:h=14,w=14,c=96,k=5,pad=2", "depthwise"),
        ("Adreno 640", "depthwise:h=14,w=14,c=96,k=3,stride=2,pad=1", "depthwise"),
        ("Mali-G77", "depthwise:h=14,w=14,c=96,k=3,pad=1", "depthwise_3x3"),
        ("Mali-G78", "depthwise:h=14,w=14,c=96,k=3,pad=1", "depthwise"),
        ("Mali-T880", "depthwise:h=14,w=14,c=96,k=3,pad=1", "depthwise"),
        ("Apple A12", "depthwise:h=14,w=14,c=96,k=3,stride=2,pad=1", "depthwise_3x3_stride2"),
        ("Apple A12", "depthwise:h=1,w=1,c=512,k=1", "depthwise"),
        ("Adreno 640", "maxpool:h=112,w=112,c=64,k=3,stride=2,pad=1", "max_pooling"),
        ("Adreno 640", "avgpool:h=14,w=14,c=64,k=7", "average_pooling"),
        ("Adreno 640", "avgpool:h=7,w=7,c=64,k=7", "mean"),
        ("Adreno 640", "maxpool:h=7,w=7,c=64,k=7", "max_pooling"),
    ],
)
def test_kernel_choice_at_its_thresholds(gpu: str, operator: str, family: str) -> None:
    assert lower(operator, gpu)["family"] == family


def test_constant_memory_counts_bytes_of_the_precision() -> None:
    assert lower(conv(28, 112, 16), "Adreno 640", "fp32")["family"] == "conv_generic"
    assert lower(conv(28, 112, 16), "Adreno 640", "fp16_fp32")["family"] == "conv_constants"


@pytest.mark.parametrize(
    ("slices", "expected"),
    [(6, (1, 1, 1)), (7, (2, 1, 1)), (12, (2, 1, 1)), (13, (2, 1, 2)), (24, (2, 1, 2)), (25, (2, 2, 2))],
)
def test_blocks_on_adreno_grow_with_waves(slices: int, expected: tuple[int, int, int]) -> None:
    # 16 x 16 pixels on 2 units of 128 threads: one wave a unit for each slice
    row = lower(conv(16, 512, 4 * slices), "Adreno 640")
    assert block(row) == expected
    assert row["kernel"] == f"conv_generic_r{expected[0] * expected[1]}p{4 * expected[2]}"


def test_adreno_work_groups_are_as_deep_as_the_slices_divide() -> None:
    row = lower(conv(16, 512, 100), "Adreno 640")  # blocks of 2x2x2: a grid of 8 x 8 x 13
    assert (row["grid_x"], row["grid_y"], row["grid_z"]) == (8, 8, 13)
    assert local(row) == (8, 2, 13)  # 256 / 13 = 19 work-items: a line of 8, twice
    assert (row["work_groups"], row["work_groups_per_unit"]) == (4, 2)
    assert (row["gx"], row["gy"], row["lx"], row["ly"]) == (13, 64, 13, 16)
    assert (row["waves_per_group"], row["waves"]) == (2, 8)
    assert row["utilisation"] == pytest.approx(16 * 16 * 100 / (4 * 208 * 4 * 8))
    assert row["padded_flops"] == 2 * 8 * 8 * 13 * 32 * 512
    assert row["input_reads_bytes"] == 8 * 8 * 13 * 4 * 512 * 2
    assert row["weight_reads_bytes"] == 8 * 8 * 13 * 8 * 512 * 2
    assert row["packed_bytes"] == 13 * 8 * 512 * 2


@pytest.mark.parametrize(
    ("slices", "kernel", "expected"),
    [
        (3, 1, (1, 1, 1)),  # 32 x 32 pixels on 12 cores: 256 tasks a core
        (4, 1, (2, 1, 1)),
        (18, 1, (2, 1, 1)),  # 1536
        (19, 1, (2, 1, 2)),
        (48, 1, (2, 1, 2)),  # 4096
        (49, 1, (2, 2, 2)),
        (49, 5, (2, 1, 2)),  # no more than four at once where the kernel is wider than a pixel
    ],
)
def test_blocks_on_mali_grow_with_tasks_per_core(slices: int, kernel: int, expected: tuple[int, int, int]) -> None:
    assert block(lower(conv(32, 64, 4 * slices, kernel), "Mali-G76 MP12")) == expected


def test_mali_keeps_one_slice_in_one_block_and_turns_blocks_in_narrow_images() -> None:
    assert block(lower(conv(256, 64, 4), "Mali-G76 MP12")) == (2, 2, 1)
    assert block(lower("conv2d:h=4096,w=1,in=64,out=16,k=1", "Mali-G76 MP12")) == (1, 2, 1)
    assert block(lower(conv(32, 64, 196), "Mali-G78", "fp32")) == (2, 2, 1)


@pytest.mark.parametrize(
    ("precision", "slices", "expected"),
    [("fp16", 32, (2, 1, 4)), ("fp16", 6, (2, 1, 2)), ("fp16", 3, (2, 1, 3)), ("fp32", 32, (1, 1, 8))],
)
def test_powervr_has_fixed_work_groups_over_pixels(precision: str, slices: int, expected: tuple[int, ...]) -> None:
    row = lower(conv(28, 64, 4 * slices), "PowerVR GE8320", precision)
    assert block(row) == expected
    assert local(row) == (32, 1, 1)
    assert row["grid_x"] == 28 // expected[0] * 28


def test_apple_takes_two_lines_from_a11_on() -> None:
    # 32 x 32 pixels of 8 slices are 256 waves: 64 for each of A12's 4 units, 42 for each of A10's 6
    row = lower(conv(32, 64, 32), "Apple A12")
    assert block(row) == (1, 2, 4)
    assert local(row) == (8, 4, 1)
    assert block(lower(conv(32, 64, 32), "Apple A10")) == (1, 1, 4)


def test_apple_lays_small_images_out_in_one_line() -> None:
    row = lower(conv(7, 64, 32), "Apple A12")  # 49 pixels of 8 slices: 13 groups of 32 in a line, 16 by pixels
    assert block(row) == (1, 1, 1)
    assert (row["grid_x"], row["grid_y"], row["work_groups"]) == (392, 1, 13)
    assert (row["gx"], row["gy"], row["lx"], row["ly"]) == (8, 49, 1, 32)


def test_fully_connected_shares_its_dot_products_among_four() -> None:
    row = lower("linear:rows=1,in=512,out=1000", "Adreno 640")
    assert local(row) == (32, 4, 1)
    assert (row["gx"], row["work_groups"], row["threads"], row["loop"]) == (250, 8, 1024, 128)
    assert row["utilisation"] == pytest.approx(1000 / 1024)
    assert row["padded_flops"] == row["flops"]
    assert local(lower("linear:rows=1,in=512,out=1000", "Mali-G76")) == (16, 4, 1)
    assert local(lower("linear:rows=1,in=512,out=1000", "Apple A12")) == (8, 4, 1)


def test_depthwise_3x3_computes_four_pixels_from_sixteen() -> None:
    row = lower("depthwise:h=14,w=14,c=96,k=3,pad=1", "Adreno 640")
    assert block(row) == (2, 2, 1)
    assert (row["grid_x"], row["grid_y"], row["grid_z"]) == (7, 7, 24)
    assert local(row) == (4, 7, 8)  # 1024 / 8 = 128 work-items: half a line, all lines
    assert (row["loop"], row["packed_bytes"]) == (9, 10 * 96 * 2)
    assert row["input_reads_bytes"] == 7 * 7 * 24 * 16 * 4 * 2
    assert row["padded_flops"] == row["flops"]
    assert local(lower("depthwise:h=14,w=14,c=96,k=3,pad=1", "PowerVR GE8320")) == (8, 4, 1)
    assert local(lower("depthwise:h=14,w=14,c=96,k=3,pad=1", "Apple A12")) == (8, 8, 1)
    assert block(lower("depthwise:h=14,w=14,c=96,k=3,stride=2,pad=1", "Apple A12")) == (1, 2, 1)


def test_pooling_reads_its_window_and_no_weights() -> None:
    row = lower("maxpool:h=112,w=112,c=64,k=3,stride=2,pad=1", "Mali-G76 MP12")
    assert (row["grid_x"], row["grid_y"], row["grid_z"]) == (56, 56, 16)
    assert (row["packed_bytes"], row["weight_reads_bytes"]) == (0, 0)
    assert row["input_reads_bytes"] == 56 * 56 * 16 * 9 * 4 * 2


@pytest.mark.parametrize(
    ("gpu", "side", "group", "loop"),
    [
        ("Adreno 640", 7, None, 49),  # 16 work-items would be less than a quarter of a work-group
        ("Adreno 640", 14, (8, 8, 1), 4),
        ("Adreno 640", 56, (32, 8, 1), 14),
        ("Mali-G76 MP12", 7, (4, 4, 1), 4),
        ("Mali-G76 MP12", 56, (32, 2, 1), 56),
        ("Apple A12", 28, (16, 16, 1), 4),
    ],
)
def test_a_mean_is_summed_by_a_work_group_where_the_image_fills_one(
    gpu: str, side: int, group: tuple[int, int, int] | None, loop: int
) -> None:
    row = lower(f"avgpool:h={side},w={side},c=96,k={side}", gpu)
    assert row["loop"] == loop
    assert row["input_reads_bytes"] >= side * side * 96 * 2
    if group is None:
        assert row["threads"] < 64
    else:
        assert local(row) == group
        assert row["work_groups"] == 24


def test_winograd_is_three_launches_about_a_batch_of_36_products() -> None:
    row = lower(conv(56, 64, 64, kernel=3), "Mali-G76 MP12")
    assert (row["launches"], row["winograd_tiles"]) == (3, 14 * 14)
    # 4181 tasks a core make blocks of 2x2x2, laid flat along the tiles
    assert block(row) == (4, 1, 2)
    assert (row["grid_x"], row["grid_y"], row["grid_z"]) == (49, 36, 8)
    assert row["packed_bytes"] == 36 * 64 * 64 * 2
    assert row["scratch_bytes"] == 36 * 196 * (64 + 64) * 2
    # input transform: 196 x 6 x 16 in groups of 8 x 6 x 4; output transform: 196 x 4 x 16 in groups of 32 x 4 x 2
    assert row["transform_work_groups"] == 25 * 4 + 7 * 8
    assert row["padded_flops"] < row["flops"]


CHANNEL_WISE = [
    parse_operator(f"{kind}:h={side},w={side + 2},c={channels},k={kernel},stride={stride},pad={kernel // 2}")
    for kind, side, channels, kernel, stride in [
        ("depthwise", 7, 13, 3, 1), ("depthwise", 8, 32, 3, 2), ("depthwise", 5, 4, 5, 1), ("maxpool", 9, 3, 2, 2),
    ]
]  # fmt: skip


def several_operators() -> st.SearchStrategy[list[Operator]]:
    return st.lists(st.one_of(operators(), st.sampled_from(CHANNEL_WISE)), min_size=4, max_size=8)


@settings(max_examples=25)
@given(several_operators(), st.sampled_from(GPUS), st.sampled_from(PRECISIONS))
def test_launches_cover_the_output_and_rows_do_not_depend_on_each_other(
    several: list[Operator], name: str, precision: str
) -> None:
    gpu = LitertGpu.from_name(name)
    table = lower_many(several, gpu, precision)
    assert table.iloc[0].equals(lower_many(several[:1], gpu, precision).iloc[0])
    for index, operator in enumerate(several):
        row = table.iloc[index]
        m, n, _ = operator.matmul
        assert row["gx"] * row["panel"] >= n
        if row["family"] != "winograd_4x4_6x6":
            assert row["gy"] * row["block_rows"] >= m
        assert 0 < row["utilisation"] <= 1
        assert row["work_group_size"] <= gpu.max_work_group_size
        assert row["lx"] * row["ly"] == row["work_group_size"] == np.prod(local(row))
        assert row["threads"] >= row["gx"] * row["gy"]


@settings(max_examples=25)
@given(several_operators(), st.sampled_from(GPUS))
def test_predictors_take_the_table(several: list[Operator], name: str) -> None:
    table = lower_many(several, LitertGpu.from_name(name))
    features = gpu_features(table, Vocabulary.of(list(table["kernel"])))
    assert list(features.columns) == list(GPU_FEATURES)
    assert np.isfinite(features.to_numpy()).all()
    assert set(table["family"]) == {"_".join(kernel.split("_")[:-1]) for kernel in table["kernel"]}


def test_the_table_has_every_column_of_our_own_plans() -> None:
    several = [parse_operator(conv(28, 64, 64, kernel=3)), *CHANNEL_WISE, parse_operator("linear:rows=1,in=64,out=64")]
    own = lower_our_own(several, Device("a GPU", "a vendor", 2, 256, (256, 256, 64), 4, 2**30, True, True))
    assert set(own.columns) <= set(lower_many(several, LitertGpu.from_name("Mali-G76")).columns)


def test_nothing_lowered_is_an_empty_table() -> None:
    assert len(lower_many([], LitertGpu.from_name("Adreno 640"))) == 0


def test_what_is_not_described_is_refused() -> None:
    with pytest.raises(UserError, match="precision 'int8' is unknown; LiteRT computes in fp16, fp16_fp32, fp32"):
        lower(conv(8, 8, 8), "Adreno 640", "int8")
    with pytest.raises(UserError, match=r"Apple M1 Pro: LiteRT's fp32 kernel .* use fp16"):
        lower(conv(8, 8, 8), "Apple M1 Pro", "fp32")

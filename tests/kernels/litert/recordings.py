"""Small files in the grammar of USC's tflite_cnn_ops_gpu.csv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

PHONES = ("pixel4", "s10")
HEADER = ["model", "operation", "feature", *(f"{p}|gpu|{column}" for p in PHONES for column in ("float", "kernel"))]


def conv_feature(
    side: int = 56, channels_in: int = 64, output: int = 56, stride: int = 1, kernel: int = 3, filters: int = 64
) -> dict[str, object]:
    flops = 2 * output * output * filters * kernel * kernel * channels_in
    sides = {"Input_shape": side, "Output_shape": output, "Stride": stride, "Kernel": kernel}
    texts = {key: str(value) for key, value in {**sides, "Filter": filters, "Group": 1, "FLOPS": flops}.items()}
    return {**texts, "Input_channel": channels_in}


def depthwise_feature(
    side: int = 16, channels: int = 96, output: int = 14, stride: int = 1, kernel: int = 3
) -> dict[str, object]:
    flops = 2 * output * output * channels * kernel * kernel
    return conv_feature(side, channels, output, stride, kernel, 1) | {"FLOPS": str(flops)}


def linear_feature(channels_in: int = 512, filters: int = 1000) -> dict[str, object]:
    blank = dict.fromkeys(("Input_shape", "Output_shape", "Stride", "Kernel", "Group"), "-")
    return {**blank, "Input_channel": channels_in, "Filter": str(filters), "FLOPS": str(2 * channels_in * filters)}


def write(path: Path, rows: Sequence[tuple[str, object, list[object]]], header: list[str] = HEADER) -> Path:
    """One row for each (operation, feature, fields of the phones)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for operation, feature, fields in rows:
            writer.writerow(["a network", operation, feature, *fields])
    return path


GOOD: list[tuple[str, object, list[object]]] = [
    # 16 slices and 196 tiles: Winograd on Mali, not on Adreno
    ("CONV_2D", conv_feature(), [100.5, "convolution_2d_1_linked_:_relu_2", 90, "convolution_winograd_4x4_6x6_1"]),
    ("MEAN", "{}", [3, "mean_7", 4, "mean_7"]),
    ("CONV_2D", conv_feature(1, 512, 1, 1, 1, 128), [7.5, "fully_connected_3", 8, "fully_connected_3"]),
    ("CONV_2D", conv_feature(230, 3, 112, 2, 7), ["", "", 50, "convolution_2d_4"]),
    ("FULLY_CONNECTED", linear_feature(), [9, "fully_connected_5", "", ""]),
    ("DEPTHWISE_CONV_2D", depthwise_feature(), [2, "depthwise_convolution_6", "", ""]),
]

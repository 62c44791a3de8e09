from __future__ import annotations

import os
from pathlib import Path

import pytest

from splitfleet.kernels import UserError
from splitfleet.kernels.litert.agreement import compare
from splitfleet.kernels.litert.usc import PHONE_GPUS, read_recorded

from .recordings import GOOD, conv_feature, write

RECORDED = "SPLITFLEET_USC_CSV"


def test_choices_are_counted_for_each_phone(tmp_path: Path) -> None:
    pixel, galaxy = compare(read_recorded(write(tmp_path / "ops.csv", GOOD)), PHONE_GPUS)
    assert (pixel.phone, pixel.gpu, pixel.rows, pixel.fused) == ("pixel4", "Adreno 640", 4, 0)
    assert (
        dict(pixel.recorded) == dict(pixel.predicted) == {"other convolution": 1, "fully connected": 2, "depthwise": 1}
    )
    assert (
        dict(galaxy.recorded) == dict(galaxy.predicted) == {"winograd": 1, "fully connected": 1, "other convolution": 1}
    )
    assert pixel.disagreements == galaxy.disagreements == ()


def test_another_kernel_than_predicted_is_a_disagreement(tmp_path: Path) -> None:
    wrong = ("CONV_2D", conv_feature(), [1, "convolution_winograd_4x4_6x6_1", 1, "convolution_2d_1"])
    pixel, galaxy = compare(read_recorded(write(tmp_path / "ops.csv", [*GOOD, wrong])), PHONE_GPUS)
    assert [(row.line, choice) for row, choice in pixel.disagreements] == [(8, "other convolution")]
    assert [(row.line, choice) for row, choice in galaxy.disagreements] == [(8, "winograd")]
    assert pixel.disagreements_about("winograd") == galaxy.disagreements_about("winograd") == 1
    assert pixel.disagreements_about("fully connected") == 0


def test_fused_layers_are_counted_and_not_compared(tmp_path: Path) -> None:
    fused = ("CONV_2D", conv_feature(), ["", "", 1, "depthwise_conv_plus_1x1_conv_5_6_7_linked_:_add_8"])
    _, galaxy = compare(read_recorded(write(tmp_path / "ops.csv", [*GOOD, fused])), PHONE_GPUS)
    assert (galaxy.rows, galaxy.fused) == (3, 1)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    rows = read_recorded(write(tmp_path / "ops.csv", GOOD))
    with pytest.raises(UserError, match="the GPU of s10 is not known; name it with --gpu s10=GPU"):
        compare(rows, {"pixel4": "Adreno 640"})
    with pytest.raises(UserError, match="GPU 'Adreno 1': "):
        compare(rows, PHONE_GPUS | {"s10": "Adreno 1"})
    odd = ("CONV_2D", conv_feature(), [1, "gemm_1", "", ""])
    with pytest.raises(UserError, match="line 8, pixel4: kernel 'gemm_1' is no name"):
        compare(read_recorded(write(tmp_path / "ops.csv", [*GOOD, odd])), PHONE_GPUS)


@pytest.mark.skipif(RECORDED not in os.environ, reason=f"{RECORDED} does not name tflite_cnn_ops_gpu.csv")
def test_every_recorded_kernel_is_the_predicted_one() -> None:
    phones = compare(read_recorded(Path(os.environ[RECORDED])), PHONE_GPUS)
    assert [(phone.phone, phone.disagreements) for phone in phones] == [(name, ()) for name in PHONE_GPUS]
    winograd = {phone.phone: phone.recorded.get("winograd", 0) for phone in phones}
    assert winograd["pixel4"] == 0
    assert min(winograd[name] for name in ("s10", "iphone7", "iphonexs")) > 100

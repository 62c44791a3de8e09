"""What the rules of each vendor choose, by examples from the delegate's thresholds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Device, Linear, Operator, Pool2d, lower, lower_many
from splitfleet.kernels.programs import Variant
from splitfleet.kernels.rules import Rules, rules_for
from splitfleet.kernels.rules.delegate import AdrenoRules, DelegateRules
from splitfleet.kernels.rules.desktop import DesktopRules
from splitfleet.kernels.rules.pocl import PoclRules

from .strategies import operators

GENERIC = Device(
    "a GPU", "a vendor", 2, 1024, (1024, 1024, 64), 4, 2**30, True, True,
    extensions=frozenset({"cl_khr_fp16"}), image2d_max=(16384, 16384),
)  # fmt: skip
ADRENO_640 = replace(GENERIC, vendor="QUALCOMM", name="QUALCOMM Adreno(TM)", version="OpenCL 2.0 Adreno(TM) 640")
ADRENO_540 = replace(ADRENO_640, version="OpenCL 2.0 Adreno(TM) 540", compute_units=4)
MALI_G76 = replace(GENERIC, vendor="ARM", name="Mali-G76 r0p0", compute_units=12, max_work_group_size=384)
POWERVR = replace(GENERIC, vendor="Imagination Technologies", name="PowerVR Rogue GE8320", compute_units=1)

SMALL = Conv2d(112, 112, 3, 16, 3, 3, 2, 1, 1)


def _family(operator: Operator, device: Device) -> str:
    return str(lower_many([operator], device)["family"][0])


def _square(side: int, channels: int) -> Conv2d:
    return Conv2d(side, side, channels, channels, 3, 3, 1, 1, 1)


@pytest.mark.parametrize(
    ("device", "operator", "family"),
    [
        (ADRENO_640, _square(48, 128), "winograd"),  # 144 tiles of 128 are needed
        (ADRENO_640, _square(44, 128), "conv_image"),  # 121 tiles
        (ADRENO_540, _square(32, 128), "winograd"),  # 64 tiles of 64
        (ADRENO_640, _square(48, 124), "conv_image"),  # 31 slices of 32
        (MALI_G76, _square(24, 64), "winograd"),  # 36 tiles of 32, 16 slices of 16
        (MALI_G76, _square(24, 60), "conv_direct"),
        (POWERVR, _square(20, 64), "conv_direct"),  # 25 tiles
        (ADRENO_640, SMALL, "conv_constant"),  # 1728 of 3584 bytes
        (ADRENO_540, replace(SMALL, in_channels=5), "conv_image"),  # 2880 of 2560 bytes
        (MALI_G76, SMALL, "conv_direct"),
        (ADRENO_640, Linear(197, 768, 768), "conv_image"),
        (ADRENO_640, Linear(197, 768, 12), "matmul"),
        (ADRENO_640, Linear(1, 768, 768), "matvec"),
        (MALI_G76, Linear(197, 768, 768), "matmul"),
        (replace(ADRENO_640, image2d_max=(0, 0)), Linear(197, 768, 768), "matmul"),
        (GENERIC, _square(24, 64), "winograd"),
        (MALI_G76, DepthwiseConv2d(9, 9, 8, 3, 3, 1, 1, 1), "depthwise"),
        (POWERVR, Pool2d("max", 9, 9, 8, 3, 3, 1, 1, 1), "maxpool"),
    ],
    ids=lambda value: getattr(value, "label", getattr(value, "generation", value)),
)
def test_family_by_vendor_and_generation(device: Device, operator: Operator, family: str) -> None:
    assert _family(operator, device) == family


@pytest.mark.parametrize(
    ("rows", "block"),
    [
        # Adreno 640 in fp32: 2 compute units and waves of 64; 16 slices of four channels.
        (48, {"r": 1, "p": 4}),  # 6 waves a compute unit
        (96, {"r": 2, "p": 4}),  # 12
        (192, {"r": 2, "p": 8}),  # 24
        (200, {"r": 4, "p": 8}),
    ],
)
def test_blocks_grow_with_waves_on_adreno(rows: int, block: dict[str, int]) -> None:
    assert Variant.parse(lower(Linear(rows, 64, 64), ADRENO_640).kernel).block == block


def test_work_groups_follow_the_divisors_of_the_panels_on_adreno() -> None:
    at = {channels: lower(Linear(400, 64, channels), ADRENO_640).launches[-1].local_size for channels in (768, 776)}
    assert at == {768: (48, 5), 776: (1, 100)}  # 96 = 2 x 48 panels of eight channels; 97 is prime


def test_powervr_has_work_groups_of_32_pixels() -> None:
    plan = lower(Conv2d(28, 28, 32, 64, 3, 3, 2, 1, 1), POWERVR)
    assert plan.launches[0].local_size == (1, 32)
    assert Variant.parse(plan.kernel).block == {"r": 1, "p": 16}


@pytest.mark.parametrize(
    ("texts", "vendor", "generation", "rules"),
    [
        ({"name": "QUALCOMM Adreno(TM)", "version": "OpenCL 3.0 Adreno(TM) 740"}, "adreno", "740", AdrenoRules),
        ({"name": "QUALCOMM Adreno(TM)", "version": "OpenCL 3.0 Adreno(TM) 830"}, "adreno", "830", AdrenoRules),
        ({"name": "Mali-G715-Immortalis MC11 r1p2"}, "mali", "g715", DelegateRules),
        ({"name": "Mali-T880"}, "mali", "t880", DelegateRules),
        ({"name": "Mali-G999"}, "mali", "g999", DelegateRules),
        ({"name": "PowerVR Rogue GE8320"}, "powervr", "ge8320", DelegateRules),
        ({"name": "PowerVR B-Series BXM-8-256"}, "powervr", "bxm-8-256", DelegateRules),
        ({"name": "pthread-AMD EPYC", "platform": "Portable Computing Language"}, "pocl", "", PoclRules),
        ({"name": "NVIDIA H200", "platform": "NVIDIA CUDA"}, "nvidia", "", DesktopRules),
        ({"name": "Samsung Xclipse 920"}, "amd", "", DesktopRules),
        ({"name": "something new"}, "generic", "", Rules),
    ],
)
def test_vendor_and_generation_are_told_from_names(
    texts: dict[str, Any], vendor: str, generation: str, rules: type[Rules]
) -> None:
    device = replace(GENERIC, **texts)
    assert (device.vendor_family, device.generation) == (vendor, generation)
    assert type(rules_for(device, "fp32")) is rules
    assert lower(Linear(100, 64, 256), device).launches


@given(operators())
def test_a_small_work_group_limit_is_kept_by_every_vendor(operator: Operator) -> None:
    for device in (ADRENO_640, MALI_G76, POWERVR):
        plan = lower(operator, replace(device, max_work_group_size=32, max_work_item_sizes=(32, 32, 32)))
        for launch in (*plan.setup, *plan.launches):
            size = 1
            for items in launch.local_size:
                size *= items
            assert size <= 32

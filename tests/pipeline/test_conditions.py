"""The conditions of a campaign: checked against each phone, and part of its device class."""

from __future__ import annotations

from dataclasses import replace

import pytest

from splitfleet.kernels.errors import DeviceError
from splitfleet.pipeline.conditions import Conditions
from splitfleet.pipeline.profile import DeviceProfile

from .profiles import profile

XNNPACK = {"eigen": "eigen-3.4.0", "xnnpack": "xnnpack-2022-02-16"}


def test_a_backend_or_a_precision_makes_another_class() -> None:
    phone = profile()
    phone.capabilities["agent"]["backends"] = XNNPACK
    chosen = [Conditions(), Conditions("xnnpack"), Conditions("eigen", "fp16"), Conditions("eigen", "fp16_fp32")]
    profiles = [replace(phone, conditions=conditions) for conditions in chosen]
    assert len({each.device_class for each in profiles}) == 4
    assert profiles[1].operating_point["backend"] == "xnnpack-2022-02-16"
    assert profiles[2].operating_point["precision"] == "fp16"
    for each in profiles:
        assert DeviceProfile.from_json(each.to_json()) == each


def test_a_missing_backend_is_named() -> None:
    capabilities = profile().capabilities
    with pytest.raises(DeviceError, match=r"phone-7: its agent has no backend 'xnnpack' \(it has eigen\)"):
        Conditions("xnnpack").check(capabilities, "phone-7")
    Conditions("eigen").check(capabilities, "phone-7")


def test_half_arithmetic_must_be_there() -> None:
    with pytest.raises(DeviceError, match=r"phone-7: its GPU D cannot compute in fp16 \(it lacks cl_khr_fp16\)"):
        Conditions(precision="fp16").check(profile().capabilities, "phone-7")
    Conditions(precision="fp16").check(profile(extensions=["cl_khr_fp16"]).capabilities, "phone-7")
    Conditions(precision="fp16_fp32").check(profile().capabilities, "phone-7")

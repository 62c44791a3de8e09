"""What an agent says of its device, and a phone of itself, is checked as result lines are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.kernels import Device
from splitfleet.pipeline.agent_info import parse_info
from splitfleet.pipeline.phone import properties

from .test_result_lines import JUNK, assert_tame, places, replaced

INFO: dict[str, Any] = {
    "schema": 2, "cpu": {"cores": [{"id": 1, "max_khz": 2_450_000}, {"id": 2, "max_khz": None}]},
    "memory_bytes": 1 << 34, "opencl_error": None,
    "agent": {
        "version": "0.1.0", "build": "f00", "compiler": "gcc 12.2", "isa": "avx2", "architecture": "x86_64",
        "backends": {"eigen": "eigen-3.4.1"},
    },
    "opencl": {
        "platform": "P", "platform_version": "1", "device": "D", "vendor": "V", "device_version": "OpenCL 3.0",
        "driver_version": "3", "c_version": "OpenCL C 1.2", "compute_units": 1, "max_work_group_size": 256,
        "max_work_item_sizes": [256, 256, 64], "preferred_vector_float": 8, "global_bytes": 9, "local_bytes": 32768,
        "constant_bytes": 65536, "max_alloc_bytes": 1 << 30, "timer_resolution_ns": 1, "image2d_max": [8192, 8192],
        "svm": {"coarse": True, "fine_buffer": True, "fine_system": False, "atomics": True}, "extensions": ["cl_x"],
    },
}  # fmt: skip


def test_what_an_agent_says_comes_through_whole() -> None:
    text = json.dumps(INFO)
    assert parse_info(f"driver: a warning\n{text}\nanother {{") == INFO
    assert parse_info(text.replace(json.dumps(INFO["opencl"]), "null"))["opencl"] is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", '{"a":' * 50_000, '{"opencl": {}}', '{"schema": NaN}', "\x00{\x00}"]
)
def test_what_is_no_info(text: str) -> None:
    with pytest.raises(ValueError):
        parse_info(text)


@given(st.data())
def test_an_info_with_something_else_in_it(data: st.DataObject) -> None:
    changed = replaced(INFO, data.draw(st.sampled_from(list(places(INFO)))), data.draw(JUNK))
    try:
        found = parse_info(json.dumps(changed))
    except ValueError:
        return
    assert_tame({name: value for name, value in found.items() if name != "opencl_error"})
    if found["opencl"]:
        Device.from_capabilities(found)


@given(st.text(max_size=300) | st.lists(st.text(alphabet="[]: ro.a\x1b\n\r", max_size=30)).map("]: [".join))
def test_any_properties_can_be_read(text: str) -> None:
    for value in properties(text).values():
        assert_tame(value)


def test_properties_are_cut_and_cannot_command_a_terminal() -> None:
    text = "[ro.a]: [x\x1b[2Jy\u202e]\r\n[ro.b]: [" + "z" * 1000 + "]\nnonsense\n[ro.c]: []\n"
    assert properties(text) == {"ro.a": "x [2Jy ", "ro.b": "z" * 200, "ro.c": ""}

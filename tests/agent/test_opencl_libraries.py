"""How the agent finds OpenCL on phones, and what it makes of a library that is not like the host's.

The library is real OpenCL, reached through the entry point of Pixel phones and changed as a description says.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from splitfleet.kernels import Device, Linear, lower
from splitfleet.pipeline.agent_targets import choose_toolchain, host_target

from .conftest import BUILDS
from .driver import Agent
from .jobs import PROGRAMS, QUICK, gpu, job, sync
from .test_lowered_plans import programs
from .test_network import VARIANTS, attention_network, lines, lowered, network_job

DESCRIBED = Path(__file__).parent / "described_opencl"

# In this order: the linker's own choice, Pixel phones', cars', then the vendors' folders.
NAMES = [
    "libOpenCL.so",
    "libOpenCL.so.1",
    "libOpenCL-pixel.so",
    "libOpenCL-car.so",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/lib64/libOpenCL.so",
    "/vendor/lib64/egl/libGLES_mali.so",
    "/system/vendor/lib64/egl/libGLES_mali.so",
    "/vendor/lib64/libPVROCL.so",
    "/system/vendor/lib64/libPVROCL.so",
]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("described") / "libdescribed.so"
    toolchain = choose_toolchain(host_target(), None, None, BUILDS)
    compiler = [word for word in toolchain.version if word != "--version"]
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(built)]
    command = [*compiler, *options, str(DESCRIBED / "library.cpp"), "-ldl"]
    subprocess.run(command, check=True, env={**os.environ, **toolchain.environment})
    return built


@pytest.fixture
def broken_names(tmp_path: Path) -> Path:
    """A folder that holds, under each name without a folder, a file that is no library."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in NAMES:
        if "/" not in name:
            (folder / name).write_text("no library")
    return folder


def described(agent: Agent, library: Path, description: str) -> Agent:
    file = agent.folder / "description.txt"
    file.write_text(description)
    real = agent.environment["SPLITFLEET_OPENCL"]
    return agent.with_environment(
        SPLITFLEET_OPENCL=str(library), DESCRIBED_OPENCL=str(file), DESCRIBED_OPENCL_REAL=real
    )


def test_the_names_that_phones_use_are_tried_in_order(agent: Agent, broken_names: Path) -> None:
    info = agent.with_environment(SPLITFLEET_OPENCL="", LD_LIBRARY_PATH=str(broken_names)).info()
    assert info["opencl"] is None
    tried = re.findall(r"(?:\(tried: |; )(?:\S*/broken/)?([^:]+):", info["opencl_error"])
    assert tried == NAMES


def test_a_pixel_phone(agent: Agent, library: Path, broken_names: Path) -> None:
    """Its library has another name, must be enabled first, and gives its functions out one by one."""
    (broken_names / "libOpenCL-pixel.so").write_bytes(library.read_bytes())
    path = f"{broken_names}:{agent.environment['LD_LIBRARY_PATH']}"
    pixel = described(agent, library, "").with_environment(SPLITFLEET_OPENCL="", LD_LIBRARY_PATH=path)
    assert pixel.info()["opencl"] == agent.info()["opencl"]
    assert pixel.run([*PROGRAMS, gpu("gpu", 8, 16, 12)])["gpu"]["status"] == "ok"


def test_what_an_adreno_tells(agent: Agent, library: Path) -> None:
    adreno = described(agent, library, (DESCRIBED / "adreno.txt").read_text())
    info = adreno.info()
    opencl = info["opencl"]
    assert (opencl["device"], opencl["vendor"]) == ("QUALCOMM Adreno(TM)", "QUALCOMM")
    assert opencl["c_version"] == "OpenCL C 2.0 Adreno(TM) 640"
    assert opencl["extensions"] == ["cl_khr_fp16", "cl_khr_global_int32_base_atomics", "cl_qcom_perf_hint"]
    assert (opencl["max_work_item_sizes"], opencl["image2d_max"]) == ([1024] * 3, [16384, 16384])
    assert (opencl["timer_resolution_ns"], opencl["local_bytes"]) == (52, 32768)
    assert opencl["svm"] == {"coarse": True, "fine_buffer": True, "fine_system": False, "atomics": True}
    operator = Linear(rows=20, in_features=48, out_features=40)
    plan = lower(operator, Device.from_capabilities(info))
    lowered = job("gpu", "gpu", operator=operator.to_json(), plan=plan.to_json(), wait="svm_poll")
    result = adreno.run([*programs([plan]), lowered])["gpu"]
    assert (result["status"], result["error"]) == ("ok", None)


def test_a_library_without_shared_virtual_memory(agent: Agent, library: Path) -> None:
    poor = described(agent, library, "hide clSVMAlloc\n")
    assert not any(poor.info()["opencl"]["svm"].values())
    results = poor.run([*PROGRAMS, sync("poll"), sync("wait", "event_wait")])
    assert {name: result["status"] for name, result in results.items()} == {"poll": "unsupported", "wait": "ok"}


def test_a_network_without_user_events_is_handed_over_in_other_ways(agent: Agent, library: Path) -> None:
    poor = described(agent, library, "hide clCreateUserEvent\n")
    network = lowered(agent, attention_network())
    result = poor.run([*lines(network.programs), network_job("network", network.body, rounds=1)])["network"]
    if result["status"] != "noisy":
        names = [variant["name"] for variant in result["variants"]]
        assert names == [name for name in VARIANTS if not name.endswith("_event")]


def test_a_library_without_a_needed_function_is_named(agent: Agent, library: Path) -> None:
    useless = described(agent, library, "hide clFinish\n").info()
    assert useless["opencl"] is None
    assert f"{library}: has no clFinish" in useless["opencl_error"]


def test_events_out_of_order_are_rejected_and_counted(agent: Agent, library: Path) -> None:
    repeat = {**QUICK, "min_count": 60, "max_count": 60}
    some = described(agent, library, "broken_events 3\n")
    result = some.run([*PROGRAMS, gpu("gpu", 8, 16, 12, repeat=repeat)])["gpu"]
    assert result["status"] == "ok"
    assert result["rejected"]["event_order"] >= 3
    samples = result["samples"]
    assert all(submit <= start for submit, start in zip(samples["submit_ns"], samples["start_ns"], strict=True))


def test_a_rejected_repetition_may_outlast_a_short_job(agent: Agent, library: Path) -> None:
    """Three times `max_time_us` are over with the first one that is rejected, and each job has one: it goes on
    nevertheless. A busy machine disturbs other repetitions too, so it is enough that one of many succeeds."""
    slow = described(agent, library, "broken_events 25\nbroken_event_ms 100\n")
    repeat = {"warmup": 1, "min_count": 30, "min_time_us": 0, "max_count": 30, "max_time_us": 20_000, "ci": 1.0}
    jobs = [gpu(f"gpu-{number}", 8, 16, 12, repeat=repeat) for number in range(10)]
    for _ in range(20):
        slow.results.unlink(missing_ok=True)
        results = slow.run([*PROGRAMS, *jobs]).values()
        succeeded = [result for result in results if result["status"] == "ok"]
        if succeeded:
            break
    assert succeeded, [result["error"] for result in results]
    assert all(sum(result["rejected"].values()) >= 1 for result in succeeded)


def test_events_that_are_never_in_order_give_no_time(agent: Agent, library: Path) -> None:
    none = described(agent, library, "broken_events 1\n")
    repeat = {"warmup": 1, "min_count": 2, "min_time_us": 0, "max_count": 3, "max_time_us": 200_000, "ci": 1.0}
    result = none.run([*PROGRAMS, gpu("gpu", 8, 16, 12, repeat=repeat)])["gpu"]
    assert result["status"] == "noisy"
    assert "samples" not in result

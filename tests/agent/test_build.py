from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.kernels.errors import HarnessError, UserError
from splitfleet.pipeline.agent_build import build_agent, built_agents, sources_digest

from .conftest import BUILDS
from .driver import Agent

MAX_AGENT_BYTES = 2_000_000


def test_an_agent_is_built_once(program: Path) -> None:
    before = program.stat()
    assert build_agent(build_root=BUILDS) == program
    assert program.stat() == before


def test_the_build_is_known_to_the_agent(agent: Agent) -> None:
    assert agent.info()["agent"]["build"] == agent.program.parent.name


def test_the_system_folder_can_be_another(agent_without_opencl: Agent, tmp_path: Path) -> None:
    for name, khz in (("cpu3", "1800000\n"), ("cpu1", None), ("cpufreq", None), ("cpuidle", None)):
        folder = tmp_path / "sys/devices/system/cpu" / name / "cpufreq"
        folder.mkdir(parents=True)
        if khz:
            (folder / "cpuinfo_max_freq").write_text(khz)
    info = agent_without_opencl.with_environment(SPLITFLEET_SYSROOT=str(tmp_path)).info()
    assert info["cpu"]["cores"] == [{"id": 1, "max_khz": None}, {"id": 3, "max_khz": 1800000}]


def test_unknown_instruction_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x86-64-v9"):
        build_agent("x86-64-v9", build_root=tmp_path)


def test_unknown_abi(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose x86_64, aarch64-linux, arm64-v8a"):
        build_agent(abi="armeabi-v7a", build_root=tmp_path)


def test_builds_are_listed(program: Path) -> None:
    [agent] = (agent for agent in built_agents(BUILDS) if agent.path.samefile(program))
    assert (agent.build, agent.isa, agent.sources) == (program.parent.name, "native", sources_digest())
    assert agent.is_current
    assert agent.size_bytes == program.stat().st_size < MAX_AGENT_BYTES


def test_a_program_names_no_folder_of_this_machine(program: Path) -> None:
    content = program.read_bytes()
    assert b"/building-" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_android_needs_an_ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"download it from https.*--abi arm64-v8a --ndk FOLDER"):
        build_agent(abi="arm64-v8a", build_root=tmp_path)
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"ANDROID_NDK_HOME names .*, and that is no Android NDK"):
        build_agent(abi="arm64-v8a", build_root=tmp_path)
    with pytest.raises(UserError, match="leave --compiler out"):
        build_agent(abi="arm64-v8a", compiler="g++", build_root=tmp_path)


def test_what_an_ndk_is_asked_for(tmp_path: Path) -> None:
    """A folder laid out as an NDK is, whose toolchain file stops and tells what CMake handed to it."""
    ndk = tmp_path / "ndk"
    clang = ndk / "toolchains/llvm/prebuilt/linux-x86_64/bin/clang++"
    clang.parent.mkdir(parents=True)
    clang.write_text("#!/bin/sh\necho clang 18\n")
    clang.chmod(0o755)
    toolchain = ndk / "build/cmake/android.toolchain.cmake"
    toolchain.parent.mkdir(parents=True)
    names = ("ABI", "PLATFORM", "STL", "SUPPORT_FLEXIBLE_PAGE_SIZES")
    toolchain.write_text(f'message(FATAL_ERROR "{" ".join(f"${{ANDROID_{name}}}" for name in names)}")\n')
    with pytest.raises(HarnessError, match="arm64-v8a android-26 c\\+\\+_static ON"):
        build_agent(abi="arm64-v8a", ndk=ndk, build_root=tmp_path / "builds")


def test_unknown_compiler(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="correct or unset CXX"):
        build_agent(compiler="/nowhere/c++", build_root=tmp_path)


def test_a_failed_build_shows_the_last_lines(tmp_path: Path) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text('#!/bin/sh\ntest "$1" = --version && exec echo 1.0\necho out of paper >&2\nexit 1\n')
    compiler.chmod(0o755)
    with pytest.raises(HarnessError, match="out of paper"):
        build_agent(compiler=str(compiler), build_root=tmp_path / "builds")
    assert not list((tmp_path / "builds").glob("building-*"))

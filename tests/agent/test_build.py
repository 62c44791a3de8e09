from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.kernels.errors import HarnessError, UserError
from splitfleet.pipeline.agent_build import build_agent

from .conftest import BUILDS
from .driver import Agent


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

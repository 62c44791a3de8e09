"""Builds of the agent that look for mistakes. clang's serves three files of tests, since compiling takes so long."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import find_tool, header_folders

AGENT = Path(__file__).parents[2] / "agent"
BUILDS = AGENT.parent / "build"
OBJECTS = "splitfleet-agent-parts"
MISSING = re.compile(r"cannot find \S*(asan|tsan|libclang_rt)")
HAS_CLANG = shutil.which("clang++") is not None


def build(name: str, compiler: str, *targets: str, **options: str) -> Path:
    """The folder of a build of these targets. Skips the test where the compiler comes without its sanitizers."""
    folder = BUILDS / f"agent-{name}"
    definitions = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_COMPILER": compiler,
        "CMAKE_CXX_FLAGS_RELEASE": "-O0 -g1",  # its compilation takes longest: at -O1 half as long again
        "CMAKE_MAKE_PROGRAM": find_tool("ninja"),
        "SPLITFLEET_XNNPACK": "OFF",
        **header_folders(),
        **options,
    }
    cmake = str(find_tool("cmake"))
    words = [f"-D{key}={value}" for key, value in definitions.items()]
    chosen = [word for target in targets for word in ("--target", target)]
    for command in (
        [cmake, "-G", "Ninja", "-S", str(AGENT), "-B", str(folder), *words],
        [cmake, "--build", str(folder), *chosen],
    ):
        done = subprocess.run(
            command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if MISSING.search(done.stdout):
            pytest.skip(f"{compiler} comes without its sanitizers")
        assert done.returncode == 0, done.stdout[-4000:]
    return folder


def build_with_clang(*targets: str) -> Path:
    """Targets of the one build: address and undefined-behaviour sanitizers, fuzz targets, GNU extensions refused."""
    checks = {"SPLITFLEET_SANITIZE": "address", "SPLITFLEET_FUZZ": "ON"}
    return build("checked", "clang++", *targets, CMAKE_CXX_FLAGS="-Wgnu", SPLITFLEET_WARNINGS_AS_ERRORS="ON", **checks)

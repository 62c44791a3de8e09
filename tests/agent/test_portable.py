"""Whether the sources fit a phone's compiler and C library, as far as that shows without an NDK."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import find_tool, header_folders

ROOT = Path(__file__).parents[2]
OFFERED = Path(__file__).parent / "bionic_api26.txt"

# What glibc calls these, after its own headers have been at them.
GLIBC_NAMES = {"__errno_location": "__errno", "__assert_fail": "__assert2"}
# Of C++ and the compiler; an NDK brings its own, linked in. The last two come from inline functions of libstdc++.
RUNTIME = re.compile(r"_Z.*|__cxa_.*|_Unwind_.*|__gxx_.*|__dso_handle|pthread_cond_clockwait|__libc_single_threaded")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("clang++") is None, reason="clang is absent"),
    pytest.mark.skipif(shutil.which("nm") is None, reason="binutils are absent"),
]


@pytest.fixture(scope="session")
def objects() -> list[Path]:
    """The object files of the preset `portable`: clang, every warning an error, that of a GNU extension among them."""
    folder = ROOT / "build/agent-portable"
    environment = {**os.environ, **{name: str(path) for name, path in header_folders().items()}}
    make = f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}"
    for options in (["--preset", "portable", make], ["--build", "--preset", "portable"]):
        done = subprocess.run(
            [find_tool("cmake"), *options],
            cwd=ROOT / "agent",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    return sorted(folder.rglob("*.o"))


def test_only_functions_that_android_offers_are_called(objects: list[Path]) -> None:
    listing = subprocess.run(["nm", "--undefined-only", *objects], capture_output=True, text=True, check=True).stdout
    called = set(re.findall(r"^ +[Uwv] (\S+)$", listing, re.MULTILINE))
    lines = (line for line in OFFERED.read_text().splitlines() if not line.startswith("#"))
    offered = {name for line in lines for name in line.split()}
    of_c = {GLIBC_NAMES.get(name, name) for name in called if not RUNTIME.fullmatch(name)}
    assert {"dlopen", "malloc", "sched_setaffinity"} <= of_c
    assert of_c <= offered, f"not known to exist at Android's API level 26: {sorted(of_c - offered)}; see {OFFERED}"

"""Whether the sources fit a phone's compiler and C library, as far as that shows without an NDK."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .checked_builds import HAS_CLANG, OBJECTS, build_with_clang

OFFERED = Path(__file__).parent / "bionic_api26.txt"

# What glibc calls these, after its own headers have been at them.
GLIBC_NAMES = {"__errno_location": "__errno", "__assert_fail": "__assert2"}
# Of C++ and the compiler; an NDK brings its own, linked in. The last two come from inline functions of libstdc++.
RUNTIME = re.compile(r"_Z.*|__cxa_.*|_Unwind_.*|__gxx_.*|__dso_handle|pthread_cond_clockwait|__libc_single_threaded")
SANITIZERS = re.compile(r"__(asan|ubsan|sanitizer_cov|sancov|start___sancov|stop___sancov)_\w+")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not HAS_CLANG, reason="clang is absent"),
    pytest.mark.skipif(shutil.which("nm") is None, reason="binutils are absent"),
]


@pytest.fixture(scope="session")
def objects() -> list[Path]:
    """Object files by clang, every warning an error, that of a GNU extension among them."""
    return sorted(build_with_clang(OBJECTS).rglob(f"{OBJECTS}.dir/**/*.o"))


def test_only_functions_that_android_offers_are_called(objects: list[Path]) -> None:
    listing = subprocess.run(["nm", "--undefined-only", *objects], capture_output=True, text=True, check=True).stdout
    called = set(re.findall(r"^ +[Uwv] (\S+)$", listing, re.MULTILINE))
    lines = (line for line in OFFERED.read_text().splitlines() if not line.startswith("#"))
    offered = {name for line in lines for name in line.split()}
    others = re.compile(f"{RUNTIME.pattern}|{SANITIZERS.pattern}")
    of_c = {GLIBC_NAMES.get(name, name) for name in called if not others.fullmatch(name)}
    assert {"dlopen", "malloc", "sched_setaffinity"} <= of_c
    assert of_c <= offered, f"not known to exist at Android's API level 26: {sorted(of_c - offered)}; see {OFFERED}"

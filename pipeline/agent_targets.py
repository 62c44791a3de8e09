"""The systems that the agent is built for, and what builds it for each: a compiler of this host, a cross compiler, zig
or an Android NDK. CMake's side of each is a preset in agent/CMakePresets.json."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from splitfleet.kernels.errors import HarnessError, UserError

NDK_VERSION = "r27c"
_NDK_PAGE = "https://developer.android.com/ndk/downloads"
_NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")
_HOST_COMPILERS = ("c++", "g++", "clang++")
_X86_LEVELS = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")


@dataclass(frozen=True)
class Target:
    """A system that agents run on. `abi` is its name on the command line."""

    abi: str
    machine: str  # the processor, as `uname -m` tells it
    preset: str  # in agent/CMakePresets.json, for a build on another kind of host
    isa_flags: Mapping[str, str]  # by instruction set; the first is what any such system can run
    cross_compiler: str | None = None
    zig_name: str | None = None
    is_android: bool = False

    @property
    def is_host(self) -> bool:
        return self.machine == platform.machine() and not self.is_android


TARGETS = {
    target.abi: target
    for target in (
        Target("x86_64", "x86_64", "host", {isa: f"-march={isa}" for isa in _X86_LEVELS}),
        # glibc 2.28 is that of the oldest systems still served: an agent made by zig runs on newer ones, too.
        Target(
            "aarch64-linux",
            "aarch64",
            "aarch64-linux",
            {"armv8-a": "-march=armv8-a"},
            cross_compiler="aarch64-linux-gnu-g++",
            zig_name="aarch64-linux-gnu.2.28",
        ),
        Target("arm64-v8a", "aarch64", "android-arm64", {"armv8-a": "-march=armv8-a"}, is_android=True),
    )
}


@dataclass(frozen=True)
class Toolchain:
    """What builds for one target on this host."""

    preset: str
    isa_flags: Mapping[str, str]
    version: tuple[str, ...]  # the command that tells it
    definitions: Mapping[str, str] = field(default_factory=dict)  # of CMake
    environment: Mapping[str, str] = field(default_factory=dict)


def host_target() -> Target:
    """The target that this host itself is. Raises UserError on a processor that no agent is made for."""
    for target in TARGETS.values():
        if target.is_host:
            return target
    raise UserError(f"there is no agent for this host's processor, {platform.machine()}: use x86-64 or 64-bit Arm")


def choose_toolchain(target: Target, compiler: str | None, ndk: Path | None, build_root: Path) -> Toolchain:
    """What builds for the target.

    `compiler` is a C++ compiler, as the CXX variable names one, or "zig". By default, for this host $CXX, else c++, g++
    or clang++, else the compiler inside ziglang; for another its cross compiler, else that inside ziglang. Android
    takes the compiler of its NDK: `ndk`, else the one that ANDROID_NDK_HOME or ANDROID_NDK_ROOT names.
    Raises UserError when what was asked for is not there, HarnessError when nothing is.
    """
    if target.is_android:
        if compiler:
            raise UserError(f"an agent for {target.abi} is built with the NDK's own compiler: leave --compiler out")
        return _ndk_toolchain(target, _find_ndk(target, ndk))
    if ndk:
        raise UserError(f"an NDK builds for Android, not for {target.abi}: leave --ndk out")
    if not target.is_host and target.cross_compiler is None:
        raise UserError(f"an agent for {target.abi} is built on such a host only, and this one is {platform.machine()}")
    wanted = compiler or (os.environ.get("CXX") if target.is_host else None)
    if wanted and wanted != "zig":
        return _compiler_toolchain(target, wanted)
    candidates = _HOST_COMPILERS if target.is_host else (target.cross_compiler or "",)
    found = None if wanted else next(filter(None, map(shutil.which, candidates)), None)
    return _compiler_toolchain(target, shlex.quote(found)) if found else _zig_toolchain(target, build_root)


def _compiler_toolchain(target: Target, command: str) -> Toolchain:
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise UserError(f"the C++ compiler {command!r} is not found: correct or unset CXX or --compiler")
    return _toolchain(target, words, target.isa_flags)


def _toolchain(target: Target, words: list[str], flags: Mapping[str, str], **environment: str) -> Toolchain:
    if target.is_host:
        flags = {"native": "-march=native", **flags}
    return Toolchain(
        preset="host" if target.is_host else target.preset,
        isa_flags=flags,
        version=(*words, "--version"),
        definitions={"CMAKE_CXX_COMPILER": ";".join(words)},  # CMake's form of a command with arguments
        environment=environment,
    )


def _zig_toolchain(target: Target, build_root: Path) -> Toolchain:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        install = f"Debian: {'g++' if target.is_host else 'g++-aarch64-linux-gnu'}"
        raise HarnessError(
            f"no C++ compiler is found to build the agent for {target.abi} with: install one ({install}), or the "
            "toolchain extra: pip install 'splitfleet[toolchain]'"
        )
    # The same level and stripping for everything, cmake's own checks among it: zig compiles its C++ library anew for
    # each combination, which takes over a minute.
    zig = shlex.quote(str(Path(spec.origin).parent / "zig"))
    name = "" if target.is_host else f"-target {target.zig_name} "
    script = f'#!/bin/sh\nexec {zig} c++ {name}-O3 -s "$@"\n'
    wrapper = build_root / f"zig-{sha256(script.encode()).hexdigest()[:12]}" / "c++"
    wrapper.parent.mkdir(exist_ok=True)
    if not wrapper.exists():
        # Two phones may be prepared at once, from two threads.
        with tempfile.NamedTemporaryFile("w", dir=wrapper.parent, delete=False) as unfinished:
            unfinished.write(script)
        Path(unfinished.name).chmod(0o755)
        Path(unfinished.name).replace(wrapper)
    # zig writes the levels of x86-64 with underscores. Its own default for 64-bit Arm is armv8-a.
    flags = {isa: "" if "arm" in isa else f"-march={isa.replace('-', '_')}" for isa in target.isa_flags}
    return _toolchain(target, [str(wrapper)], flags, ZIG_GLOBAL_CACHE_DIR=str(build_root / "zig-cache"))


def _find_ndk(target: Target, given: Path | None) -> Path:
    source = "--ndk"
    if given is None:
        source = next((name for name in _NDK_VARIABLES if os.environ.get(name)), "")
        if not source:
            raise UserError(
                f"an agent for {target.abi} needs the Android NDK ({NDK_VERSION}): download it from {_NDK_PAGE}, "
                f"unpack it, and name its folder: splitfleet agent build --abi {target.abi} --ndk FOLDER, "
                f"or set {_NDK_VARIABLES[0]}"
            )
        given = Path(os.environ[source])
    if not (given / "build/cmake/android.toolchain.cmake").is_file():
        raise UserError(
            f"{source} names {given}, and that is no Android NDK (it has no build/cmake/android.toolchain.cmake): "
            f"give the folder that holds source.properties; the NDK is at {_NDK_PAGE}"
        )
    return given.absolute()


def _ndk_toolchain(target: Target, ndk: Path) -> Toolchain:
    clang = sorted(ndk.glob("toolchains/llvm/prebuilt/*/bin/clang++"))
    if not clang:
        raise UserError(f"{ndk} holds no toolchains/llvm/prebuilt/*/bin/clang++: unpack the NDK for this host again")
    return Toolchain(
        preset=target.preset,
        isa_flags=target.isa_flags,
        version=(str(clang[0]), "--version"),
        environment={"ANDROID_NDK_HOME": str(ndk)},
    )

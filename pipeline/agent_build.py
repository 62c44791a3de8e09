"""Builds the device agent from its C++ sources for a phone that runs on this host's kind of processor.

Nothing of the system is needed but a C++ compiler, and not even that where `ziglang` is installed: cmake, ninja and
the header-only libraries are wheels. Phones with another processor get an agent built with the presets in agent/.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources.abc import Traversable
from pathlib import Path

from filelock import FileLock

from splitfleet.kernels.errors import HarnessError, UserError

_INSTALL = "install the fleet extra: pip install 'splitfleet[fleet]'"
_PROGRAM = "splitfleet-agent"
_COMPILERS = ("c++", "g++", "clang++")
_ERROR_LINES = 20

# Compiler flags by instruction set. Clang and GCC know these levels under one name, zig writes them with underscores.
ISA_FLAGS = {"native": "-march=native", "x86-64-v2": "-march=x86-64-v2", "x86-64-v3": "-march=x86-64-v3"}
_ZIG_FLAGS = {isa: flags.replace("x86-64-v", "x86_64_v") for isa, flags in ISA_FLAGS.items()}


@dataclass(frozen=True)
class _Compiler:
    command: str  # as the CXX variable takes it
    isa_flags: Mapping[str, str]
    environment: Mapping[str, str]

    def version(self) -> str:
        return _run([*shlex.split(self.command), "--version"], self.environment, "the C++ compiler")


def build_agent(isa: str = "native", compiler: str | None = None, *, build_root: Path) -> Path:
    """The path of an agent for `isa`, built unless `build_root` holds one of these very sources, flags and compiler.

    `isa` is one of ISA_FLAGS. `compiler` is a C++ compiler, as the CXX variable names one, or "zig"; by default $CXX,
    else c++, g++ or clang++ of this machine, else the one inside ziglang. Several processes may ask at once.
    Raises UserError for an unknown instruction set or compiler, HarnessError with the last lines when a build fails.
    """
    build_root = build_root.absolute()
    build_root.mkdir(parents=True, exist_ok=True)
    chosen = _choose_compiler(compiler, build_root)
    if isa not in chosen.isa_flags:
        raise UserError(f"no agent can be built for the instruction set {isa!r}: choose {', '.join(ISA_FLAGS)}")
    sources = dict(_sources())
    build_id = _build_id(isa, chosen, sources)
    agent = build_root / build_id / _PROGRAM
    if agent.exists():
        return agent
    with FileLock(build_root / f"{build_id}.lock"):
        if not agent.exists():
            _build(agent, build_id, chosen.isa_flags[isa], chosen, sources)
    return agent


def _build(agent: Path, build_id: str, isa_flags: str, compiler: _Compiler, sources: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory(dir=agent.parent.parent, prefix="building-") as folder:
        source, binary = Path(folder, "source"), Path(folder, "build")
        for name, content in sources.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        environment = {**compiler.environment, "CXX": compiler.command}
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_MAKE_PROGRAM": _tool("ninja"),
            "SPLITFLEET_JSON_INCLUDE": _wheel_folder("nlohmann-json", "nlohmann_json/include"),
            "SPLITFLEET_EIGEN_INCLUDE": _wheel_folder("cmeel-eigen", "cmeel.prefix/include/eigen3"),
            "SPLITFLEET_ISA_FLAGS": isa_flags,
            "SPLITFLEET_BUILD_ID": build_id,
        }
        cmake = str(_tool("cmake"))
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        _run([cmake, "-G", "Ninja", "-S", str(source), "-B", str(binary), *definitions], environment, "cmake")
        _run([cmake, "--build", str(binary)], environment, "the agent's build")
        finished = Path(folder, "finished")
        finished.mkdir()
        (binary / _PROGRAM).replace(finished / _PROGRAM)
        finished.replace(agent.parent)


def _choose_compiler(wanted: str | None, build_root: Path) -> _Compiler:
    wanted = wanted or os.environ.get("CXX")
    if wanted and wanted != "zig":
        words = shlex.split(wanted)
        if not words or shutil.which(words[0]) is None:
            raise UserError(f"the C++ compiler {wanted!r} is not found: correct or unset CXX")
        return _Compiler(wanted, ISA_FLAGS, {})
    found = None if wanted else next(filter(None, map(shutil.which, _COMPILERS)), None)
    return _Compiler(found, ISA_FLAGS, {}) if found else _zig_compiler(build_root)


def _zig_compiler(build_root: Path) -> _Compiler:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise HarnessError(
            "no C++ compiler is found to build the agent with: install one (Debian: g++), or the toolchain extra: "
            "pip install 'splitfleet[toolchain]'"
        )
    # The same level and stripping for everything, cmake's own checks among it: zig compiles its C++ library anew for
    # each combination, which takes over a minute.
    script = f'#!/bin/sh\nexec {shlex.quote(str(Path(spec.origin).parent / "zig"))} c++ -O3 -s "$@"\n'
    wrapper = build_root / f"zig-{sha256(script.encode()).hexdigest()[:12]}" / "c++"
    wrapper.parent.mkdir(exist_ok=True)
    if not wrapper.exists():
        # Two phones may be prepared at once, from two threads.
        with tempfile.NamedTemporaryFile("w", dir=wrapper.parent, delete=False) as unfinished:
            unfinished.write(script)
        Path(unfinished.name).chmod(0o755)
        Path(unfinished.name).replace(wrapper)
    return _Compiler(shlex.quote(str(wrapper)), _ZIG_FLAGS, {"ZIG_GLOBAL_CACHE_DIR": str(build_root / "zig-cache")})


def _build_id(isa: str, compiler: _Compiler, sources: Mapping[str, bytes]) -> str:
    """Identity of everything that decides what the agent computes and how fast."""
    digest = sha256()
    facts = [isa, compiler.isa_flags[isa], compiler.version(), platform.machine()]
    if isa == "native":
        facts.append(_processor())
    facts += [distribution(name).version for name in ("nlohmann-json", "cmeel-eigen")]
    for fact in facts:
        digest.update(f"{fact}\0".encode())
    for name, content in sorted(sources.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _processor() -> str:
    """What -march=native looks at: the processor's model and abilities, as far as Linux tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    first = cpuinfo.read_text().split("\n\n", 1)[0]
    return "\n".join(line for line in first.splitlines() if line.startswith(("model name", "flags", "Features")))


def _sources() -> Iterator[tuple[str, bytes]]:
    """The agent's CMakeLists.txt and C++ files, by path."""
    root = importlib.resources.files("splitfleet.agent")
    entries: list[tuple[str, Traversable]] = [("CMakeLists.txt", root / "CMakeLists.txt")]
    entries += [(f"src/{entry.name}", entry) for entry in (root / "src").iterdir()]
    for name, entry in entries:
        if name == "CMakeLists.txt" or name.endswith((".cpp", ".hpp")):
            yield name, entry.read_bytes()


def _tool(name: str) -> Path:
    beside = Path(sysconfig.get_path("scripts"), name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise HarnessError(f"{name} is not found: {_INSTALL}")
    return Path(found)


def _wheel_folder(package: str, folder: str) -> Path:
    try:
        path = Path(str(distribution(package).locate_file(folder)))
    except PackageNotFoundError:
        raise HarnessError(f"the Python package {package} is not installed: {_INSTALL}") from None
    if not path.is_dir():
        raise HarnessError(f"the Python package {package} holds no {folder}: {_INSTALL}")
    return path


def _run(command: list[str], environment: Mapping[str, str], what: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        last = "\n".join(lines[-_ERROR_LINES:])
        raise HarnessError(f"{what} failed (exit code {done.returncode}); its last lines:\n{last}")
    return done.stdout

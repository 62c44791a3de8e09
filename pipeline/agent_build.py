"""Builds the device agent from its C++ sources, for this host or for another system (see agent_targets).

Nothing of the system is needed but a C++ compiler, and not even that where `ziglang` is installed: cmake, ninja and
the header-only libraries are wheels. Android alone needs its NDK. A build is kept under the hash of all that decides
what the agent computes and how fast, so it is made once.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources.abc import Traversable
from pathlib import Path

from filelock import FileLock

from splitfleet.kernels.errors import HarnessError, UserError

from .agent_targets import TARGETS, Target, Toolchain, choose_toolchain, host_target
from .home import splitfleet_home
from .xnnpack import xnnpack_identity

_INSTALL = "install the fleet extra: pip install 'splitfleet[fleet]'"
_PROGRAM = "splitfleet-agent"
_FACTS = "build.json"
_CMAKE_FILES = ("CMakeLists.txt", "CMakePresets.json", "cmake/xnnpack.cmake")
_SOURCE_FOLDERS = ("include/splitfleet", "src")
_HEADER_WHEELS = {
    "nlohmann-json": ("SPLITFLEET_JSON_INCLUDE", "nlohmann_json/include"),
    "cmeel-eigen": ("SPLITFLEET_EIGEN_INCLUDE", "cmeel.prefix/include/eigen3"),
}
_ERROR_LINES = 20


@dataclass(frozen=True)
class BuiltAgent:
    """An agent in a folder of builds. `sources` is the hash of the C++ sources that it was made from."""

    path: Path
    build: str
    abi: str
    isa: str
    compiler: str
    sources: str
    built_unix_s: int

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    @property
    def is_current(self) -> bool:
        """Whether it was made from the sources that are installed now."""
        return self.sources == sources_digest()


def build_agent(
    isa: str | None = None,
    compiler: str | None = None,
    *,
    build_root: Path,
    abi: str | None = None,
    ndk: Path | None = None,
) -> Path:
    """The path of an agent, built unless `build_root` holds one of these very sources, flags and compiler.

    `abi` is one of TARGETS, by default this host's. `isa` is one of the target's instruction sets; by default "native"
    on this host, else the one that every such system has. `compiler` and `ndk` as choose_toolchain takes them.
    Several processes may ask at once.
    Raises UserError for an unknown ABI, instruction set, compiler or NDK, HarnessError with the last lines when a
    build fails.
    """
    target = host_target() if abi is None else find_target(abi)
    build_root = build_root.absolute()
    build_root.mkdir(parents=True, exist_ok=True)
    toolchain = choose_toolchain(target, compiler, ndk, build_root)
    isa = isa or next(iter(toolchain.isa_flags))
    if isa not in toolchain.isa_flags:
        known = ", ".join(toolchain.isa_flags)
        raise UserError(f"no agent for {target.abi} can be built for the instruction set {isa!r}: choose {known}")
    version = _compiler_version(toolchain)
    xnnpack = xnnpack_identity() if target.is_host else None
    build_id = _build_id(target, isa, toolchain, [version, xnnpack or "no XNNPACK"])
    agent = build_root / build_id / _PROGRAM
    if agent.exists():
        return agent
    with FileLock(build_root / f"{build_id}.lock"):
        if not agent.exists():
            facts = {"abi": target.abi, "isa": isa, "compiler": version.splitlines()[0], "sources": sources_digest()}
            _build(agent, build_id, toolchain, toolchain.isa_flags[isa], facts, with_xnnpack=xnnpack is not None)
    return agent


def agents_folder() -> Path:
    """Where the agents of this user are kept."""
    return splitfleet_home() / "agents"


def export_agent(program: Path, output: Path) -> None:
    """Copies an agent to a file. Raises UserError when it cannot be written."""
    try:
        shutil.copy(program, output)
    except OSError as error:
        raise UserError(f"the agent cannot be written to {output}: {error.strerror}; name another file") from error


def find_target(abi: str) -> Target:
    """The target of a name. Raises UserError for one that no agent is made for."""
    if abi not in TARGETS:
        raise UserError(f"no agent is made for the ABI {abi!r}: choose {', '.join(TARGETS)}")
    return TARGETS[abi]


def built_agents(build_root: Path) -> list[BuiltAgent]:
    """The agents that lie in a folder of builds, by ABI, the newest first."""
    found = []
    for file in build_root.glob(f"*/{_FACTS}"):
        program = file.with_name(_PROGRAM)
        if program.exists():
            made = int(program.stat().st_mtime)
            found.append(BuiltAgent(program, file.parent.name, built_unix_s=made, **json.loads(file.read_text())))
    return sorted(found, key=lambda agent: (agent.abi, -agent.built_unix_s, agent.build))


def header_folders() -> dict[str, Path]:
    """The folders of the header-only libraries, by the name of the variable with which CMake is told."""
    return {name: _wheel_folder(wheel, folder) for wheel, (name, folder) in _HEADER_WHEELS.items()}


def sources_digest() -> str:
    """The hash of the agent's installed sources."""
    digest = sha256()
    for name, content in sorted(_sources()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _build(
    agent: Path, build_id: str, toolchain: Toolchain, isa_flags: str, facts: Mapping[str, str], *, with_xnnpack: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=agent.parent.parent, prefix="building-") as folder:
        source, binary, finished = (Path(folder, name) for name in ("source", "build", "finished"))
        for name, content in _sources():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        options = {
            **{name: str(folder) for name, folder in header_folders().items()},
            **toolchain.definitions,
            "CMAKE_MAKE_PROGRAM": str(find_tool("ninja")),
            "SPLITFLEET_ISA_FLAGS": isa_flags,
            "SPLITFLEET_BUILD_ID": build_id,
            "SPLITFLEET_XNNPACK": "AUTO" if with_xnnpack else "OFF",
            # A compiler that we do not know may warn of what is right.
            "SPLITFLEET_WARNINGS_AS_ERRORS": "OFF",
        }
        environment = {**toolchain.environment, "SOURCE_DATE_EPOCH": "0"}
        cmake = str(find_tool("cmake"))
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        configure = [cmake, "--preset", toolchain.preset, "-S", str(source), "-B", str(binary), *definitions]
        _run(configure, environment, "cmake")
        _run([cmake, "--build", str(binary)], environment, "the agent's build")
        finished.mkdir()
        (binary / _PROGRAM).replace(finished / _PROGRAM)
        (finished / _FACTS).write_text(json.dumps(facts, indent=2) + "\n")
        finished.replace(agent.parent)


def _compiler_version(toolchain: Toolchain) -> str:
    """What the compiler tells of itself, but for clang's own folder: where a compiler lies decides nothing."""
    lines = _run(toolchain.version, toolchain.environment, "the C++ compiler").splitlines()
    return "\n".join(line for line in lines if not line.startswith("InstalledDir:"))


def _build_id(target: Target, isa: str, toolchain: Toolchain, versions: Sequence[str]) -> str:
    """Identity of everything that decides what the agent computes and how fast."""
    digest = sha256()
    facts = [target.abi, isa, toolchain.isa_flags[isa], *versions, sources_digest()]
    if isa == "native":
        facts.append(_processor())
    facts += [distribution(name).version for name in _HEADER_WHEELS]
    for fact in facts:
        digest.update(f"{fact}\0".encode())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """What -march=native looks at: the processor's model and abilities, as far as Linux tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    first = cpuinfo.read_text().split("\n\n", 1)[0]
    return "\n".join(line for line in first.splitlines() if line.startswith(("model name", "flags", "Features")))


def _sources() -> Iterator[tuple[str, bytes]]:
    """The agent's CMake and C++ files, by path."""
    root = importlib.resources.files("splitfleet.agent")
    entries: list[tuple[str, Traversable]] = [(name, root / name) for name in _CMAKE_FILES]
    for folder in _SOURCE_FOLDERS:
        entries += [(f"{folder}/{entry.name}", entry) for entry in root.joinpath(folder).iterdir()]
    for name, entry in entries:
        if not name.startswith("src/") or name.endswith((".cpp", ".hpp")):
            yield name, entry.read_bytes()


def find_tool(name: str) -> Path:
    """cmake or ninja: that of the Python environment, else the system's. Raises HarnessError where there is none."""
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


def _run(command: Sequence[str], environment: Mapping[str, str], what: str) -> str:
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

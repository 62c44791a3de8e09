"""Program binaries are kept from one run to the next, and never used where they might be wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .driver import Agent, Line
from .jobs import MATMUL, PROGRAMS, cpu, gpu, linear, program

JOBS = [*PROGRAMS, gpu("first", 4, 4, 4), gpu("second", 4, 4, 4), cpu("cpu", linear(2, 2, 2))]


@pytest.fixture
def agent(agent: Agent) -> Agent:
    """Of itself an agent on PoCL keeps none, since PoCL does."""
    return agent.with_environment(SPLITFLEET_CACHE_DIR=str(agent.folder / "cache"))


def run(agent: Agent, lines: list[Line] = JOBS, *options: str) -> list[bool]:
    """Whether each job was served without compiling; every run is a new one."""
    agent.results.unlink(missing_ok=True)
    agent.write(lines)
    done = agent.call("run", *options, agent.jobs, agent.results)
    assert done.returncode == 0, done.stderr
    results = [line for line in agent.read() if line["type"] == "result"]
    assert all(result["status"] == "ok" for result in results), results
    return [result["cached"] for result in results]


def kept(agent: Agent) -> Path:
    (binary,) = (agent.folder / "cache").iterdir()
    return binary


def test_a_program_is_compiled_once(agent: Agent) -> None:
    assert run(agent) == [False, True, True]
    before = kept(agent).stat()
    assert run(agent) == [True, True, True]
    assert kept(agent).stat().st_ino == before.st_ino


def test_the_cache_can_be_turned_off(agent: Agent) -> None:
    run(agent)
    binary = kept(agent).read_bytes()
    assert run(agent, JOBS, "--no-cache") == [False, True, True]
    assert kept(agent).read_bytes() == binary


def test_pocls_own_cache_is_turned_off_too(agent: Agent, tmp_path: Path) -> None:
    for options, is_kept in ((("--no-cache",), False), ((), True)):
        folder = tmp_path / f"pocl{len(options)}"
        run(agent.with_environment(POCL_CACHE_DIR=str(folder)), JOBS, *options)
        assert any(path.suffix == ".so" for path in folder.rglob("*")) == is_kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: content[: content.index(b"\n") + 1],
        lambda content: b"",
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: content.replace(b'"agent_build":"', b'"agent_build":"x', 1),
    ],
    ids=["short", "long", "key only", "empty", "one bit", "another key"],
)
def test_a_damaged_binary_is_rebuilt(agent: Agent, damage: Callable[[bytes], bytes]) -> None:
    run(agent)
    whole = kept(agent).read_bytes()
    kept(agent).write_bytes(damage(whole))
    assert run(agent) == [False, True, True]
    assert kept(agent).read_bytes().splitlines()[0] == whole.splitlines()[0]
    assert run(agent) == [True, True, True]


def test_a_binary_that_the_driver_refuses_is_rebuilt(agent: Agent) -> None:
    """Sealed properly, but no program: its seal is taken from a file that the agent wrote for another device."""
    run(agent)
    lines = kept(agent).read_bytes().split(b"\n", 2)
    other = agent.with_environment(SPLITFLEET_CACHE_DIR=str(agent.folder / "other"))
    run(other, [program("matmul", MATMUL.replace("sum +=", "sum -=")), gpu("x", 4, 4, 4, verify=False)])
    (foreign,) = (agent.folder / "other").iterdir()
    _, seal, binary = foreign.read_bytes().split(b"\n", 2)
    kept(agent).write_bytes(b"\n".join([lines[0], seal, binary[: len(binary) // 2]]))
    assert run(agent) == [False, True, True]


def test_what_decides_the_binary_is_part_of_its_key(agent: Agent) -> None:
    run(agent)
    job = gpu("job", 4, 4, 4, verify=False)
    for line in (
        program("matmul", MATMUL + " "),
        program("matmul", MATMUL, "-cl-std=CL1.2 -cl-fast-relaxed-math"),
    ):
        assert run(agent, [line, job]) == [False]
    assert run(agent, [PROGRAMS[0], job]) == [True]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the case of a file in its place is below")
def test_a_folder_that_cannot_be_written(agent: Agent, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    agent = agent.with_environment(SPLITFLEET_CACHE_DIR=str(folder))
    assert run(agent) == run(agent) == [False, True, True]


def test_an_empty_name_keeps_nothing(agent: Agent) -> None:
    agent = agent.with_environment(SPLITFLEET_CACHE_DIR="")
    assert run(agent) == run(agent) == [False, True, True]


def test_a_file_in_the_folders_place(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    agent = agent.with_environment(SPLITFLEET_CACHE_DIR=str(tmp_path / "file"))
    assert run(agent) == run(agent) == [False, True, True]

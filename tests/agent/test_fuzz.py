"""Reading job files and split tables: the corpus through the agent, and the fuzzer where clang has libFuzzer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import find_tool, header_folders

from .driver import Agent
from .jobs import cpu, linear

AGENT = Path(__file__).parents[2] / "agent"
CORPUS = AGENT / "fuzz" / "corpus"
BUILD = AGENT.parent / "build" / "agent-fuzz"
RUNS = 3000
TABLE_CORPUS = AGENT / "fuzz" / "corpus_split_table"
TABLE_RUNS = 30_000


def test_the_corpus_is_answered(agent_without_opencl: Agent) -> None:
    """In one job file, so that a line that broke the reading of the next would show, too."""
    agent = agent_without_opencl.with_environment(SPLITFLEET_MAX_BYTES="1000000", SPLITFLEET_GRACE_S="5")
    files = sorted(CORPUS.iterdir())
    assert len(files) > 20
    results = agent.run([*(file.read_bytes() for file in files), cpu("last", linear(2, 2, 2))])
    assert results["last"]["status"] in ("ok", "noisy")
    assert "crashed" not in {result["status"] for result in results.values()}


@pytest.fixture(scope="module")
def fuzzers() -> Path:
    """The folder of the fuzz targets."""
    if shutil.which("clang++") is None:
        pytest.skip("clang is absent")
    options = {
        "CMAKE_CXX_COMPILER": "clang++",
        "CMAKE_CXX_FLAGS_RELEASE": "-O1 -g1",  # at -O3 its compilation takes twice as long
        "CMAKE_MAKE_PROGRAM": find_tool("ninja"),
        "SPLITFLEET_FUZZ": "ON",
        "SPLITFLEET_XNNPACK": "OFF",
        **header_folders(),
    }
    cmake = str(find_tool("cmake"))
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    _run([cmake, "-G", "Ninja", "-S", str(AGENT), "-B", str(BUILD), *definitions])
    _run([cmake, "--build", str(BUILD), "--target", "splitfleet-fuzz-jobs", "splitfleet-fuzz-split-table"])
    return BUILD / "fuzz"


@pytest.mark.peer
def test_the_fuzzer_finds_nothing_in_the_reading_of_jobs(fuzzers: Path, tmp_path: Path) -> None:
    words = AGENT / "fuzz" / "jobs.dict"
    _fuzz(fuzzers / "splitfleet-fuzz-jobs", CORPUS, RUNS, tmp_path, f"-dict={words}")


@pytest.mark.peer
def test_the_fuzzer_finds_nothing_in_the_reading_of_split_tables(fuzzers: Path, tmp_path: Path) -> None:
    _fuzz(fuzzers / "splitfleet-fuzz-split-table", TABLE_CORPUS, TABLE_RUNS, tmp_path)


def _fuzz(fuzzer: Path, corpus: Path, runs: int, folder: Path, *options: str) -> None:
    found = folder / "found"
    found.mkdir()
    settings = [f"-runs={runs}", "-seed=1", "-max_len=16384", f"-artifact_prefix={folder}/"]
    _run([str(fuzzer), *settings, *options, str(found), str(corpus)])


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=600
    )
    output = done.stdout.decode("utf-8", "replace")
    if "libclang_rt.fuzzer" in output and "cannot find" in output:
        pytest.skip("this clang has no libFuzzer")
    assert done.returncode == 0, output[-4000:]

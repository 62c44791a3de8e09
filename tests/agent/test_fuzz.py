"""Reading job files and split tables: the corpus through the agent, and the fuzzer where clang has libFuzzer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .checked_builds import AGENT, HAS_CLANG, build_with_clang
from .driver import Agent
from .jobs import cpu, linear

CORPUS = AGENT / "fuzz" / "corpus"
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
    if not HAS_CLANG:
        pytest.skip("clang is absent")
    return build_with_clang("splitfleet-fuzz-jobs", "splitfleet-fuzz-split-table") / "fuzz"


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
    done = subprocess.run(
        [str(fuzzer), *settings, *options, str(found), str(corpus)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-4000:]

"""C++ programs that use the runtime's headers, compiled for the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from splitfleet.kernels import Operator
from splitfleet.predictors.split_key import epilogue_index, type_index, words_of
from splitfleet.predictors.split_table import POLICIES, Policy

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "agent" / "include"
LOOKUP = Path(__file__).parent / "lookup.cpp"
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic")

Query = tuple[Operator, Policy, int]


def compile_program(compiler: Sequence[str], source: Path, program: Path, *options: str) -> Path:
    """Every warning is an error."""
    command = [*compiler, *STRICT, f"-I{INCLUDE}", *options, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return program


def query_lines(queries: Iterable[Query]) -> str:
    lines = (
        f"{type_index(operator)} {epilogue_index(operator)} {' '.join(map(str, words_of(operator)))} "
        f"{POLICIES.index(policy)} {max_distance}\n"
        for operator, policy, max_distance in queries
    )
    return "".join(lines)


def call(command: Sequence[str | Path], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)

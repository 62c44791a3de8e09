"""The C++ reader of split tables (agent/include/splitfleet) against the Python one, and its example."""

from __future__ import annotations

import random
import re
import shutil
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from splitfleet.kernels import Linear
from splitfleet.pipeline.agent_build import find_tool
from splitfleet.predictors.split_table import JOINS, POLICIES, PROCESSORS, Found, SplitTable
from splitfleet.predictors.split_table_binary import encode_split_table

from ..arm64 import COMPILER, QEMU, needs_compiler, needs_qemu
from .programs import LOOKUP, ROOT, Query, call, compile_program, query_lines
from .tables import random_shapes, random_table

EXAMPLE = ROOT / "examples" / "runtime"
CORPUS = ROOT / "agent" / "fuzz" / "corpus_split_table"


def _compiler() -> list[str]:
    """What builds the agent here; zig where there is no other."""
    for name in ("c++", "clang++", "g++"):
        if shutil.which(name):
            return [name]
    return [sys.executable, "-m", "ziglang", "c++"]


@pytest.fixture(scope="session")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(_compiler(), LOOKUP, tmp_path_factory.mktemp("runtime") / "lookup", "-O2")


@pytest.fixture(scope="session")
def table() -> SplitTable:
    return random_table(2000, seed=5)


@pytest.fixture(scope="session")
def table_file(table: SplitTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "split_table.bin"
    path.write_bytes(encode_split_table(table))
    return path


def test_it_answers_as_the_python_reader_on_ten_thousand_shapes(
    lookup: Path, table: SplitTable, table_file: Path
) -> None:
    _check_answers([lookup], table, table_file)


def test_it_answers_the_same_without_vector_instructions(table: SplitTable, table_file: Path, tmp_path: Path) -> None:
    _check_answers([compile_program(_compiler(), LOOKUP, tmp_path / "lookup", "-O2", "-U__SSE2__")], table, table_file)


@pytest.mark.peer
@needs_compiler
@needs_qemu
def test_it_answers_the_same_on_arm64(table: SplitTable, table_file: Path, tmp_path: Path) -> None:
    program = compile_program([COMPILER], LOOKUP, tmp_path / "lookup", "-O2", "-static")
    _check_answers([QEMU, program], table, table_file)


def _check_answers(lookup: Sequence[str | Path], table: SplitTable, table_file: Path) -> None:
    choice = random.Random(9)
    queries: list[Query] = [
        (shape, choice.choice(POLICIES), choice.choice([0, 64, 256, 1000])) for shape in random_shapes(table, 10_000, 6)
    ]
    done = call([*lookup, table_file], query_lines(queries))
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    places = {id(entry): index for index, entry in enumerate(table.entries)}
    expected = [table.find(*query) for query in queries]
    assert answers == [_line(found, places) for found in expected]
    matches = Counter("none" if found is None else found.match for found in expected)
    assert all(matches[match] > 100 for match in ("none", *POLICIES)), matches


def _line(found: Found | None, places: dict[int, int]) -> str:
    if found is None:
        return "-"
    record = -1 if found.entry is None else places[id(found.entry)]
    time_us = 0.0 if found.entry is None else found.entry.decision.predicted_us
    join = 0 if found.join is None else 1 + JOINS.index(found.join)
    numbers = (POLICIES.index(found.match), PROCESSORS.index(found.processor), found.cut, found.threads, join)
    return " ".join(map(str, [*numbers, found.distance, record, f"{time_us:.17g}"]))


def test_an_empty_table_has_a_default(lookup: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.bin"
    path.write_bytes(encode_split_table(SplitTable.of("phone", "eigen", [])))
    done = call([lookup, path], query_lines([(Linear(1, 2, 3), "default", 0), (Linear(1, 2, 3), "nearest", 9000)]))
    assert done.stdout.splitlines() == ["3 0 3 1 0 0 -1 0", "-"]


def test_a_damaged_file_is_refused_with_a_reason(lookup: Path, table_file: Path, tmp_path: Path) -> None:
    sound = table_file.read_bytes()
    path = tmp_path / "t.bin"

    def answer(data: bytes) -> str:
        path.write_bytes(data)
        done = call([lookup, path])
        assert done.returncode == 1
        return done.stderr.strip()

    damaged = "the split table is damaged or cut short; get the package again"
    assert call([lookup, tmp_path]).stderr == "the file cannot be read\n"
    assert answer(b"") == "the file cannot be read"
    assert answer(b"no table" * 20) == answer(sound[:43]) == "not a binary split table"
    assert answer(sound[:8] + b"\3" + sound[9:]).startswith("a split table of another version")
    assert answer(sound[:-1]) == answer(sound + b"x") == answer(sound[:60] + b"\xff" + sound[61:]) == damaged
    # With a sound checksum: a cut past the channels, records out of order, an index past the records, and of the index
    # of the nearest a window past the records, a place past the window, a block of shapes that
    # holds another one, a block of boxes that holds another box.
    first = 48
    count, slot_count, windows, rows = (int.from_bytes(sound[at : at + 4], "little") for at in (12, 16, 36, 40))
    slots = first + 144 * count
    nearest = slots + 8 * slot_count
    places = nearest + 40 * windows
    leaves = places + 4 * count
    end = leaves + 32 * rows
    assert end < len(sound)
    for start, value in [
        (first + 48, b"\xff\xff\xff\x7f"),
        (first, sound[first + 144 * 99 : first + 144 * 100]),
        (slots + 4, b"\xff\xff\xff\xff"),
        (nearest + 32, b"\xff\xff\xff\x7f"),
        (places, b"\xff\xff\xff\x7f"),
        (leaves, bytes([sound[leaves] ^ 1])),
        (end - 288, bytes([sound[end - 288] ^ 1])),
    ]:
        body = sound[:start] + value + sound[start + len(value) : -4]
        assert answer(body + zlib.crc32(body).to_bytes(4, "little")) == damaged


@pytest.mark.parametrize(
    "compiler",
    [["g++"], ["clang++", "-Wgnu"], ["aarch64-linux-gnu-g++"], ["clang++", "-Wgnu", "-fno-exceptions", "-fno-rtti"]],
    ids=["gcc", "clang", "arm64", "no-exceptions"],
)
def test_the_headers_compile_without_a_warning(compiler: list[str], tmp_path: Path) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is absent")
    compile_program([*compiler, "-Wconversion", "-Wshadow", "-c"], LOOKUP, tmp_path / "lookup.o")


@pytest.mark.peer
def test_the_headers_compile_under_zig_for_arm64(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    zig = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-musl", "-c"]
    compile_program(zig, LOOKUP, tmp_path / "lookup.o")


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("c++") is None, reason="a C++ compiler is absent")
def test_the_example_builds_and_runs(table: SplitTable, table_file: Path, tmp_path: Path) -> None:
    assert len((EXAMPLE / "main.cpp").read_text().splitlines()) <= 45
    cmake, ninja = str(find_tool("cmake")), find_tool("ninja")
    build = str(tmp_path / "build")
    for command in (
        [cmake, "-G", "Ninja", "-S", str(EXAMPLE), "-B", build, f"-DCMAKE_MAKE_PROGRAM={ninja}"],
        [cmake, "--build", build],
    ):
        done = call(command)
        assert done.returncode == 0, done.stdout + done.stderr
    layer = next(
        operator
        for entry in table.entries
        if isinstance(operator := entry.decision.operator, Linear)
        and entry.decision.processor == "split"
        and operator.epilogue == "none"
    )
    found = table.find(layer, "default")
    assert found is not None
    example = tmp_path / "build" / "runtime-example"
    sizes = [str(layer.rows), str(layer.in_features), str(layer.out_features)]
    said = call([example, table_file, *sizes])
    assert re.fullmatch(
        rf"{found.match} match, distance 0: the CPU computes channels 0 to {found.cut} on {found.threads} threads, "
        rf"the GPU {found.cut} to {layer.out_features}; joined by {found.join}\n",
        said.stdout,
    ), said
    assert call([example, table_file]).returncode == 2
    assert "cannot be read" in call([example, "absent.bin", *sizes]).stderr


def test_the_fuzzers_corpus_is_no_accident(lookup: Path) -> None:
    """Sound tables are among it, so that mutations begin behind the first check."""
    opened = [call([lookup, path]).returncode for path in sorted(CORPUS.iterdir())]
    assert opened.count(0) >= 3
    assert opened.count(1) >= 3

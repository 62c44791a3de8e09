"""What a lookup costs a runtime: the C++ reader on a table of 10,000 rows, by policy; the best and the median of seven
passes over 2,000 shapes in random order."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from splitfleet.kernels import Linear
from splitfleet.predictors.split_table import Policy, SplitTable
from splitfleet.predictors.split_table_binary import encode_split_table

from ..runtime.programs import LOOKUP, Query, call, compile_program, query_lines
from ..runtime.tables import random_operator, random_table

ROWS = 10_000
SHAPES = 2_000
REPEATS = 50


def bench_lookups_in_a_table_of_ten_thousand_rows() -> None:
    table = random_table(ROWS, seed=3)
    report = Table("policy", "found", "best, ns", "median, ns", title=f"one lookup in a table of {len(table.entries)}")
    with TemporaryDirectory() as folder:
        path = Path(folder, "split_table.bin")
        path.write_bytes(encode_split_table(table))
        program = compile_program(["c++"], LOOKUP, Path(folder, "lookup"), "-O2")
        for policy, queries in _queries(table).items():
            found = sum(table.find(*query) is not None for query in queries)
            done = call([program, path, "--time", str(REPEATS)], query_lines(queries))
            times = [float(line) for line in done.stdout.splitlines()]
            report.add_row(policy, f"{found} of {len(queries)}", f"{min(times):.0f}", f"{median(times):.0f}")
    Console(width=120).print(report)


def _queries(table: SplitTable) -> dict[Policy, list[Query]]:
    choice = random.Random(4)
    exact = [entry.decision.operator for entry in table.entries if entry.rows is None]
    layers = [entry.decision.operator for entry in table.entries if entry.rows is not None]
    ranged = [
        Linear(choice.randint(1, 2048), layer.in_features, layer.out_features, layer.epilogue)
        for layer in choice.choices(layers, k=SHAPES)
        if isinstance(layer, Linear)
    ]
    other = [random_operator(choice) for _ in range(SHAPES)]
    return {
        "exact": [(operator, "exact", 0) for operator in choice.choices(exact, k=SHAPES)],
        "range": [(operator, "range", 0) for operator in ranged],
        "nearest": [(operator, "nearest", 1 << 20) for operator in other],
        "default": [(operator, "default", 0) for operator in other],
    }

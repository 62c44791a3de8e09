"""From which sizes on the special kernel families beat the plain ones on PoCL: the ground of rules/pocl.py."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from splitfleet.kernels import Conv2d, Linear, Operator, lower

from ..kernels.forced import only
from .side_by_side import Plan, bench, plan_of

ROUNDS = 9
CHANNELS = [(16, 16), (16, 64), (32, 32), (64, 16), (64, 64), (256, 256)]
CASES: list[tuple[str, str, list[Operator]]] = [
    ("winograd", "conv_direct", [Conv2d(s, s, *c, 3, 3, 1, 1, 1) for s in (4, 7, 14, 28) for c in CHANNELS]),
    ("matvec", "matmul", [Linear(rows, 768, columns) for rows in range(1, 9) for columns in (768, 3072)]),
    ("conv_constant", "conv_direct", [Conv2d(s, s, 3, n, 3, 3, 2, 1, 1) for s in (32, 224) for n in (8, 16, 32)]),
    ("conv_image", "conv_direct", [Conv2d(14, 14, 64, 64, 3, 3, 1, 1, 1)]),
]


def bench_families_against_plain_ones() -> None:
    table = Table("operator", "family", "plain", title="GFLOP/s on one core")
    table.add_column("ratio", justify="right")
    with bench() as run:
        for family, plain, operators in CASES:
            for operator in operators:
                plans: dict[str, Plan] = {}
                for name in (family, plain):
                    with only(name):
                        plans[name] = plan_of(lower(operator, run.device))
                rates = run.rates(operator, plans, rounds=ROUNDS)
                cells = ["busy"] * 3
                if rates is not None:
                    cells = [f"{name} {rate:.1f}" for name, rate in rates.items()]
                    cells.append(f"{rates[family] / rates[plain]:.2f}")
                table.add_row(operator.label, *cells)
    Console(width=120).print(table)

"""Every layer of ResNet-50 and ViT-B/16: our kernels on PoCL against the agent's CPU backends and a naive kernel.

All on CPU 0, built for this processor, each pair interleaved. Kernels: execution time of all launches; backends: wall
time.
"""

from __future__ import annotations

from statistics import median

from rich.console import Console
from rich.table import Table

from splitfleet.kernels import Operator, lower

from .naive import PROGRAM, naive_plan
from .side_by_side import Bench, bench, layers, plan_of

NAIVE = "naive"
NAIVE_ROUNDS = 3  # it takes half a second for a layer


def bench_layers_side_by_side() -> None:
    console = Console(width=120)
    ratios: dict[tuple[str, str], list[float]] = {}
    with bench() as run:
        peers = (*run.info["agent"]["backends"], NAIVE)
        table = Table("layer", "kernel", title="GFLOP/s on one core: ours / peer")
        for peer in peers:
            table.add_column(f"ours / {peer}", justify="right")
        for name, operator in layers("resnet50", "vit_b16"):
            cells = []
            for peer in peers:
                pair = _pair(run, operator, peer)
                cells.append("busy" if pair is None else f"{pair[0]:.1f} / {pair[1]:.1f} = {pair[0] / pair[1]:.2f}")
                if pair is not None:
                    ratios.setdefault((peer, operator.type), []).append(pair[0] / pair[1])
            console.print(name, *cells)  # one by one: the table takes its time
            table.add_row(name, lower(operator, run.device).kernel, *cells)
    console.print(table)
    for peer in peers:
        for kinds in (("linear",), ("conv2d",), ("linear", "conv2d")):
            found = sorted(ratio for kind in kinds for ratio in ratios.get((peer, kind), []))
            text = f"median {median(found):.2f}, least {found[0]:.2f}, " if found else ""
            console.print(f"ours / {peer}, {' and '.join(kinds)}: {text}{len(found)} layers")


def _pair(run: Bench, operator: Operator, peer: str) -> tuple[float, float] | None:
    """GFLOP/s of our kernel and of the peer; None on a busy machine."""
    ours = {"ours": plan_of(lower(operator, run.device))}
    if peer == NAIVE:
        rates = run.rates(operator, {**ours, NAIVE: (naive_plan(operator), PROGRAM)}, rounds=NAIVE_ROUNDS)
    else:
        rates = run.rates(operator, ours, (peer,))
    return None if rates is None else (rates["ours"], rates[peer])

"""Every layer of ResNet-50 and ViT-B/16: our kernels on PoCL against the agent's CPU backends and a naive kernel.

All on CPU 0, built for this processor, interleaved. Kernels: execution time of all launches; backends: wall time.
"""

from __future__ import annotations

from statistics import median

from rich.console import Console
from rich.table import Table

from splitfleet.kernels import lower

from .naive import PROGRAM, naive_plan
from .side_by_side import bench, layers, plan_of

NAIVE_ROUNDS = 3  # it takes half a second for a layer


def bench_layers_side_by_side() -> None:
    console = Console(width=120)
    found: list[tuple[str, dict[str, float]]] = []
    with bench() as run:
        backends = tuple(run.info["agent"]["backends"])
        table = Table("layer", "kernel", title="GFLOP/s on one core")
        for name in ("ours", *backends, "ours, again", "naive"):
            table.add_column(name, justify="right")
        for name, operator in layers("resnet50", "vit_b16"):
            ours = lower(operator, run.device)
            rates = run.rates(operator, {"ours": plan_of(ours)}, backends)
            plans = {"ours": plan_of(ours), "naive": (naive_plan(operator), PROGRAM)}
            slow = run.rates(operator, plans, rounds=NAIVE_ROUNDS)
            cells = [*(rates or dict.fromkeys(("ours", *backends))).values(), *(slow or dict.fromkeys(plans)).values()]
            table.add_row(name, ours.kernel, *("busy" if cell is None else f"{cell:.1f}" for cell in cells))
            found += [(operator.type, {peer: rates["ours"] / rates[peer] for peer in backends})] if rates else []
            found += [(operator.type, {"naive": slow["ours"] / slow["naive"]})] if slow else []
    console.print(table)
    for peer in (*backends, "naive"):
        for kinds in (("linear",), ("conv2d",), ("linear", "conv2d")):
            ratios = sorted(each[peer] for kind, each in found if kind in kinds and peer in each)
            middle = f"median {median(ratios):.2f}, least {ratios[0]:.2f}, " if ratios else ""
            console.print(f"ours / {peer}, {' and '.join(kinds)}: {middle}{len(ratios)} layers")

"""Every layer of ResNet-50 and ViT-B/16: our kernels on PoCL against the agent's CPU backends and a naive kernel.

All on CPU 0, built for this processor, interleaved. Ours and the naive kernel: execution time; backends: wall time.
"""

from __future__ import annotations

from statistics import median

from rich.console import Console
from rich.table import Table

from splitfleet.kernels import lower

from .naive import PROGRAM, naive_plan
from .side_by_side import bench, layers, plan_of


def bench_layers_side_by_side() -> None:
    console = Console(width=120)
    with bench() as run:
        backends = tuple(run.info["agent"]["backends"])
        table = Table("layer", "kernel", title="GFLOP/s on one core")
        for name in ("ours", "naive", *backends):
            table.add_column(name, justify="right")
        found = []
        for name, operator in layers("resnet50", "vit_b16"):
            ours = lower(operator, run.device)
            rates = run.rates(operator, {"ours": plan_of(ours), "naive": (naive_plan(operator), PROGRAM)}, backends)
            found.append((operator.type, rates))
            table.add_row(name, ours.kernel, *(f"{rate:.1f}" for rate in rates.values()))
    console.print(table)
    for peer in ("naive", *backends):
        for kind in ("linear", "conv2d"):
            ratios = sorted(rates["ours"] / rates[peer] for type_, rates in found if type_ == kind)
            console.print(
                f"ours / {peer}, {kind}: median {median(ratios):.2f}, least {ratios[0]:.2f}, {len(ratios)} layers"
            )
        everything = median(rates["ours"] / rates[peer] for _, rates in found)
        console.print(f"ours / {peer}, all layers: median {everything:.2f}")

"""Lowering every cut of ResNet-50's convolutions at once, against lowering them one by one, in the same run."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from splitfleet.kernels import Device, cuts, lower_channels, lower_half
from splitfleet.pipeline.campaign import load_campaign

PHONE = Device("a GPU", "a vendor", 2, 256, (256, 256, 64), 4, 2**30, True, True)
DEMO = Path(__file__).parents[2] / "examples" / "demo.toml"


def bench_all_cuts_at_once() -> None:
    operators = [layer.operator for layer in load_campaign(DEMO).layers if layer.network == "resnet50"]
    start = perf_counter()
    rows = sum(len(lower_channels(op, op.channels - cuts(op), PHONE)) for op in operators)
    at_once_s = perf_counter() - start
    sample = [(op, int(cut)) for op in operators for cut in cuts(op)[::32]]
    start = perf_counter()
    for op, cut in sample:
        lower_half(op, cut, PHONE)
    singly_s = (perf_counter() - start) / len(sample) * rows
    print(f"\n{rows} cuts at once {at_once_s * 1e3:.0f} ms; one by one {singly_s:.1f} s, from {len(sample)} of them")
    print(f"ratio {singly_s / at_once_s:.0f}")

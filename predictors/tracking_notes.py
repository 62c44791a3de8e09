"""The notes that people read beside a run or model in the MLflow UI, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .package import Package
from .predictor import threads_of
from .train import ClassModels

_FORMULA = "time (µs) = cost model * exp(raw score of the Booster)"


def campaign_note(campaign: str, results: Sequence[ClassModels]) -> str:
    """A table of device classes and their errors."""
    rows = [
        f"| {r.models.device_class} | {_error(r.metrics['gpu_execution'])} | {_error(r.metrics['gpu_dispatch'])} "
        f"| {_error(r.metrics['cpu'])} |"
        for r in results
    ]
    head = "| device class | GPU execution | GPU dispatch | CPU |\n|---|---|---|---|\n"
    return (
        f"Predictors trained on the traces of the campaign **{campaign}**. MAPE over held-out shapes:\n\n"
        + head
        + "\n".join(rows)
    )


def class_note(result: ClassModels) -> str:
    """The device, its joining costs, and whether a polled flag may be used."""
    costs = result.models.costs
    joins = [
        f"| {join} | {n} | {us:.1f} |" for join, by in sorted(costs.join_us.items()) for n, us in sorted(by.items())
    ]
    poll = f"{'allowed' if costs.checked.allow_polling else 'refused'}: {costs.checked.verdict}"
    opencl = result.profile["capabilities"]["opencl"]
    return (
        f"**{result.profile.get('model', result.models.device_class)}**, GPU {opencl['device']}, "
        f"CPU by {result.models.backend}.\n\nPolling a flag in shared virtual memory is {poll}.\n\n"
        "| join | CPU threads | cost (µs) |\n|---|---|---|\n" + "\n".join(joins)
    )


def predictor_note(result: ClassModels, target: str) -> str:
    """What the Booster predicts and how to get a time from it."""
    threads = threads_of(target)
    what = "GPU time from the launch plan" if threads is None else f"CPU time on {threads} thread(s) from the shape"
    figures = result.metrics[target]
    return (
        f"**{target}** of {result.models.device_class}: {what}. {_FORMULA}; the cost model is in `predictor.json`.\n\n"
        f"{figures['n']} shapes, each predicted by a model that had not seen it: MAPE {figures['mape']:.1f} %, "
        f"median error {figures['median_ape']:.1f} %, within 10 %: {figures['within_10']:.0f} %."
    )


def package_note(package: Package) -> str:
    """What is in the package, and how to get it."""
    entries = package.split_table.entries
    split = [entry for entry in entries if entry.decision.processor == "split"]
    measured = sorted(entry.measured.speedup for entry in split if entry.measured is not None)
    proved = ""
    if measured:
        median = measured[len(measured) // 2]
        proved = (
            f" {len(measured)} of them were measured on the phone: speed-up {median:.2f} (median), "
            f"{measured[-1]:.2f} at best."
        )
    return (
        f"Predictor package of **{package.device_class}**: {len(entries)} layers planned, {len(split)} split."
        f"{proved}\n\n"
        f"`splitfleet package download {package.device_class}` fetches it."
    )


def _error(metrics: dict[str, Any]) -> str:
    return f"{metrics['mape']:.1f} %"

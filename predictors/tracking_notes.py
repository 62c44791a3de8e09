"""The notes that people read beside a run or model in the MLflow UI, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .any_package import AnyPackage
from .litert_train import LitertTraining
from .predictor import threads_of
from .train import ClassModels

_FORMULA = "time (µs) = cost model * exp((1 - share) * Booster + share * Gaussian process)"


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
        f"**{target}** of {result.models.device_class}: {what}. {_FORMULA}; all but "
        "the Booster is in `predictor.json`.\n\n"
        f"{figures['n']} shapes, each predicted by a model that had not seen it: MAPE {figures['mape']:.1f} %, "
        f"median error {figures['median_ape']:.1f} %, within 10 %: {figures['within_10']:.0f} %."
    )


def registered_note(package: AnyPackage, alias: str, reason: str) -> str:
    """What is in a package, how good it is, why it has its alias, and how to get it."""
    name = package.device_class
    errors = ", ".join(f"{key.upper()} {value:.1f} %" for key, value in package.mapes.items())
    parts = [
        f"Predictor package of **{name}**, made from {package.source}.",
        f"MAPE on {package.held_out['shape'].nunique()} shapes held out: {errors}.",
        *_layers(package),
        f"**{alias.capitalize()}**: {reason}.",
        f"`splitfleet package download {name}` fetches the champion.",
    ]
    return "\n\n".join(parts)


def litert_campaign_note(name: str, results: Sequence[LitertTraining]) -> str:
    """A table of device classes and their errors by operator."""
    rows = [
        f"| {r.models.device_class} | {operator} | {m['n']} | {m['mape']:.1f} % | {m['within_10']:.0f} % |"
        for r in results
        for operator, m in r.metrics.items()
    ]
    head = "| device class | operator | shapes | MAPE | within 10 % |\n|---|---|---|---|---|\n"
    return (
        f"Predictors trained on the imported traces **{name}**. Errors on held-out shapes:\n\n" + head + "\n".join(rows)
    )


def litert_class_note(result: LitertTraining) -> str:
    """The phones, their GPU, and the errors by operator."""
    point = result.models.operating_point
    return (
        f"GPU times of **{', '.join(result.phones)}** ({point['gpu']}, {point['precision']}) under LiteRT's GPU "
        f"delegate. Errors on shapes held out of training:\n\n{_errors(result.metrics)}"
    )


def litert_predictor_note(result: LitertTraining, group: str) -> str:
    """What the predictor is for, how good it is, and what it is made of."""
    types = result.models.predictors[group].operator_types
    metrics = {operator: figures for operator, figures in result.metrics.items() if operator in types}
    return (
        f"**{group}** of {result.models.device_class}: GPU time of {', '.join(types)} from LiteRT's launch. "
        f"{_FORMULA}; all but the Booster is in `predictor.json`.\n\nErrors on shapes that were held out:\n\n"
        + _errors(metrics)
    )


def _errors(metrics: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        f"| {operator} | {m['n']} | {m['mape']:.1f} % | {m['within_10']:.0f} % | {m['coverage_90']:.0f} % |"
        for operator, m in metrics.items()
    ]
    head = "| operator | shapes | MAPE | within 10 % | in 90 % intervals |\n|---|---|---|---|---|\n"
    return head + "\n".join(rows)


def _layers(package: AnyPackage) -> list[str]:
    if package.split_table is None:
        return []
    entries = package.split_table.entries
    split = sum(entry.decision.processor == "split" for entry in entries)
    text = f"{len(entries)} layers planned, {split} split."
    if speedups := package.speedups:
        middle = speedups[len(speedups) // 2]
        text += (
            f" {len(speedups)} of them were measured on the phone: speed-up {middle:.2f} (median), "
            f"{speedups[-1]:.2f} at best."
        )
    return [text]


def _error(metrics: dict[str, Any]) -> str:
    return f"{metrics['mape']:.1f} %"

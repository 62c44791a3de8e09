"""The report of a campaign as one HTML file for people who did not run it: headline in words, charts, all figures.

The file needs nothing else, no network least of all: style and SVG are in it. It is light or dark as the reader's
system is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from splitfleet.kernels import parse_operator
from splitfleet.predictors.curves import predict_curves
from splitfleet.predictors.package import open_package
from splitfleet.predictors.tracking_report import log_report

from .locations import new_file
from .page_charts import Chart, channels_chart, speedup_bars
from .profile import DeviceProfile, load_profiles
from .publishing import published_record
from .report import campaign_report
from .training import campaign_run_id

_CHARTS = 6
_TARGETS = {"gpu_execution": "GPU execution", "gpu_dispatch": "GPU dispatch", "cpu": "CPU"}


def html_report(folder: Path) -> str:
    """The page. Raises UserError where the folder holds no campaign, or its package cannot be read."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("splitfleet.pipeline"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    report = campaign_report(folder)
    profiles = load_profiles(folder / "profiles")
    classes = [_class_page(folder, name, found, profiles.get(name)) for name, found in report["device_classes"].items()]
    return environment.get_template("report.html").render(campaign=report["campaign"], classes=classes)


def save_html_report(folder: Path, file: Path) -> bool:
    """Writes the page, whole or not at all, and keeps it in MLflow with the campaign's run, if that is there.

    Returns whether MLflow has it. Raises UserError as `html_report`, for a file that cannot be written, and when MLflow
    cannot be used; the file is there then.
    """
    text = html_report(folder)
    with new_file(file) as page:
        page.write(text.encode("utf-8"))
    run_id = campaign_run_id(folder)
    if run_id is not None:
        log_report(file, run_id)
    return run_id is not None


def _class_page(folder: Path, name: str, found: Mapping[str, Any], profile: DeviceProfile | None) -> dict[str, Any]:
    return {
        "name": name,
        "model": profile.model if profile else name,
        "soc": profile.soc if profile else "",
        "gpu": profile.device.name if profile else "",
        "headline": headline(found),
        "found": found,
        "errors": [(words, found["predictors"][key]) for key, words in _TARGETS.items() if key in found["predictors"]],
        "bars": speedup_bars(found["layers"]) if found["layers"] else None,
        "charts": _charts(folder, name),
        "corrections": [row for row in found["layers"] if row["correction"]],
    }


def headline(found: Mapping[str, Any]) -> str:
    """What came out for a device class, in words."""
    splits = found["splits"]
    if splits is None:
        trained = "Its predictors are trained, but nothing is published yet." if found["predictors"] else ""
        return f"{found['done']} of {found['jobs']} measurements are done. {trained}".strip()
    if not splits["measured_split"]:
        return f"None of {splits['measured']} measured layers was planned to be shared between GPU and CPU."
    shared, best = splits["measured_split"], splits["speedup_max"]
    text = (
        f"Sharing layers between GPU and CPU made {shared - splits['not_faster']} of {shared} shared layers faster: "
        f"typically {splits['speedup_median']:.2f} times as fast as the better processor alone, at best {best:.2f}."
    )
    if splits["searched"]:
        excess = max(0.0, splits["regret_median"] - 1)
        text += f" Plans take {100 * excess:.1f} % longer than the best that exhaustive search found (median)."
    return text


def _charts(folder: Path, name: str) -> list[Chart]:
    """Latency along channels of the searched layers, the largest first."""
    record = published_record(folder, name)
    if record is None or not record["searches_us_by_cut"]:
        return []
    package = open_package(folder / record["package"])
    plans = {item["decision"]["label"]: item["decision"] for item in record["proved"]}
    searches = {
        parse_operator(label): {int(cut): us for cut, us in times.items()}
        for label, times in record["searches_us_by_cut"].items()
        if times
    }
    chosen = sorted(searches, key=lambda op: -op.flops)[:_CHARTS]
    curves = predict_curves(chosen, package.models, package.device)
    charts = []
    for operator, each in zip(chosen, curves, strict=True):
        plan = plans.get(operator.label)
        threads = (plan["threads"] or plan["cpu_threads"]) if plan else package.models.thread_counts[0]
        cpu_us, gpu_us = each.joint_us(threads, package.models.interference)
        cuts = each.cuts.tolist()
        drawn = {
            "cpu": ("CPU half", cuts[1:], cpu_us[1:].tolist()),
            "gpu": ("GPU half", cuts[:-1], gpu_us[:-1].tolist()),
            "split": ("both, predicted", cuts, np.maximum(cpu_us, gpu_us).tolist()),
        }
        charts.append(channels_chart(operator.label, drawn, searches[operator], plan["cut"] if plan else None))
    return charts

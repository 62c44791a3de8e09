"""The report of a campaign: jobs, predictor errors, joining costs and splits of every device class."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from splitfleet.kernels import operator_from_json
from splitfleet.kernels.errors import UserError
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.traces import read_traces

from .campaign_run import campaign_status
from .publishing import PUBLISHED
from .splits import layer_rows, split_figures
from .training import TRAINING_FILE, trained_classes

REPORT_SCHEMA = 1


def campaign_report(folder: Path) -> dict[str, Any]:
    """All that is known of a campaign by now, as JSON. What has not been trained or published yet is None.

    Raises UserError where the folder holds no campaign.
    """
    status = campaign_status(folder)
    trained = trained_classes(folder) if (folder / TRAINING_FILE).exists() else {}
    rejected = _rejected_jobs(folder)
    classes = {}
    for counts in status.counts:
        if counts.purpose != "measure":
            continue
        name = counts.device_class
        published = _published(folder, name)
        metrics = trained[name].metrics if name in trained else {}
        classes[name] = {
            "jobs": counts.jobs,
            "done": counts.done,
            "rejected": counts.rejected,
            "rejected_jobs": rejected.get(name, []),
            "predictors": {target: {k: v for k, v in m.items() if k != "by_kernel"} for target, m in metrics.items()},
            **published,
        }
    return {"schema": REPORT_SCHEMA, "campaign": status.name, "folder": str(folder), "device_classes": classes}


def _published(folder: Path, name: str) -> dict[str, Any]:
    path = folder / PUBLISHED / f"{name}.json"
    if not path.exists():
        return {"splits": None, "layers": [], "joins": None, "package": None}
    data = json.loads(path.read_text("utf-8"))
    table = SplitTable.from_json(data["split_table"], str(path))
    return {
        "splits": split_figures(table),
        "layers": layer_rows(table),
        "joins": data["joins"],
        "package": {"path": str(folder / data["package"]), "version": data["version"]},
    }


def _rejected_jobs(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The measuring jobs that gave no time, by device class, each with its status and error; sorted by status."""
    try:
        traces = read_traces(folder)
    except UserError:
        return {}  # nothing is measured yet
    bad = traces[(traces["purpose"] == "measure") & (traces["status"] != "ok")]
    found: dict[str, list[dict[str, str]]] = {}
    for row in bad.sort_values(["status", "kind", "job_id"]).to_dict("records"):
        item = {key: str(row[key]) for key in ("job_id", "kind", "phone", "status")}
        item |= {"what": _subject(row), "error": row["error"] if isinstance(row["error"], str) else ""}
        found.setdefault(str(row["device_class"]), []).append(item)
    return found


def _subject(row: Mapping[Hashable, Any]) -> str:
    """What a job was about, in words: the operator, the join or the transfer."""
    if isinstance(row["operator"], str):
        return operator_from_json(json.loads(row["operator"])).label
    if isinstance(row["operation"], str):
        return f"{row['operation']} of {row['bytes']:.0f} bytes"
    return f"{row['join']} with {row['threads']:.0f} threads"

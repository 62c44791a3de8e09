"""The report of a campaign: jobs, predictor errors, joining costs and splits of every device class."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from splitfleet.kernels import operator_from_json
from splitfleet.predictors.checked_joins import checked_joins
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.traces import read_traces

from .campaign_run import campaign_status
from .join_record import joins_before
from .ledger import Ledger
from .overheads import chain_figures, join_order, join_rows, transfer_rows
from .profile import load_profiles
from .proved import Proved
from .publishing import published_record
from .splits import layer_rows, split_figures
from .training import TRAINING_FILE, trained_classes
from .units import unit_figures

REPORT_SCHEMA = 2


def campaign_report(folder: Path) -> dict[str, Any]:
    """All that is known of a campaign by now, as JSON. What has not been trained or published yet is None.

    Raises UserError where the folder holds no campaign.
    """
    status = campaign_status(folder)
    trained = trained_classes(folder) if (folder / TRAINING_FILE).exists() else {}
    every = read_traces(folder) if (folder / "traces").is_dir() else None
    measured = None if every is None else every[every["purpose"] == "measure"]
    classes = {}
    for counts in status.counts:
        if counts.purpose != "measure":
            continue
        name = counts.device_class
        metrics = trained[name].metrics if name in trained else {}
        traces = measured[measured["device_class"] == name] if measured is not None else None
        classes[name] = {
            "jobs": counts.jobs,
            "done": counts.done,
            "rejected": counts.rejected,
            "predictors": {target: {k: v for k, v in m.items() if k != "by_kernel"} for target, m in metrics.items()},
            **(_overheads(folder, name, traces) if traces is not None else _NOT_MEASURED),
            "units": None if every is None else unit_figures(every[every["device_class"] == name]),
            **_published(folder, name),
        }
    return {"schema": REPORT_SCHEMA, "campaign": status.name, "folder": str(folder), "device_classes": classes}


_NOT_MEASURED: dict[str, Any] = {
    "rejected_jobs": [],
    "join_costs": [],
    "join_order": "",
    "polling": None,
    "chains": None,
    "transfers": [],
}


def _overheads(folder: Path, name: str, traces: pd.DataFrame) -> dict[str, Any]:
    joins = join_rows(traces)
    return {
        "rejected_jobs": _rejected_jobs(traces),
        "join_costs": joins,
        "join_order": join_order(joins),
        "polling": _polling(folder, name, traces),
        "chains": chain_figures(traces),
        "transfers": transfer_rows(traces),
    }


def _polling(folder: Path, name: str, traces: pd.DataFrame) -> dict[str, Any]:
    """Whether the class may poll, and why or why not."""
    profile = load_profiles(folder / "profiles").get(name)
    if profile and not profile.device.svm_polling:
        return {"allowed": False, "reason": "the GPU has no fine-grained shared memory with atomics"}
    with Ledger(folder, read_only=True) as ledger:
        checked = checked_joins(traces) + joins_before(ledger, name)
    return {"allowed": checked.allow_polling, "reason": checked.verdict}


_NOT_PUBLISHED: dict[str, Any] = {
    "splits": None,
    "layers": [],
    "joins": None,
    "interference": None,
    "halves_together": [],
    "phone_seconds": None,
    "package": None,
}


def _published(folder: Path, name: str) -> dict[str, Any]:
    data = published_record(folder, name)
    if data is None:
        return _NOT_PUBLISHED
    table = SplitTable.from_json(data["split_table"], name)
    proved = [Proved.from_json(item) for item in data["proved"]]
    return {
        "splits": split_figures(table, proved),
        "layers": layer_rows(proved),
        **{key: data[key] for key in ("joins", "interference", "halves_together", "phone_seconds")},
        "package": {"path": str(folder / data["package"]), "version": data["version"]},
    }


def _rejected_jobs(traces: pd.DataFrame) -> list[dict[str, str]]:
    """The jobs that gave no time, each with its status and error; sorted by status."""
    found = []
    for row in traces[traces["status"] != "ok"].sort_values(["status", "kind", "job_id"]).to_dict("records"):
        item = {key: str(row[key]) for key in ("job_id", "kind", "phone", "status")}
        found.append({**item, "what": _subject(row), "error": row["error"] if isinstance(row["error"], str) else ""})
    return found


def _subject(row: Mapping[Hashable, Any]) -> str:
    """What a job was about, in words: the operator, the join or the transfer."""
    if isinstance(row["operator"], str):
        return operator_from_json(json.loads(row["operator"])).label
    if isinstance(row["operation"], str):
        return f"{row['operation']} of {row['bytes']:.0f} bytes"
    return f"{row['join']} with {row['threads']:.0f} threads"

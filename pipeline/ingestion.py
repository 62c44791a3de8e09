"""From the ledger to traces: one Parquet file a phone, written anew when what the ledger has accepted has changed."""

from __future__ import annotations

import json
import shutil
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from splitfleet.predictors.traces import SAMPLES, revision_of, write_traces

from .ledger import Ledger

_FROM_JOB = ("threads", "core_mask", "cut", "chain_length", "operation", "bytes")
_FROM_RESULT = (
    "status", "error", "max_relative_error", "checked_joins", "mismatches", "build_us", "elapsed_us", "warmup",
    "started_unix_us",
)  # fmt: skip
_text = json.JSONEncoder(sort_keys=True).encode
_FROM_BATCH = ("temperature_before_c", "temperature_after_c", "telemetry_before", "telemetry_after")


def ingest(ledger: Ledger, folder: Path) -> int:
    """Brings `<folder>/traces/phone=<label>/traces.parquet` up to date for every phone, and beside it
    `<folder>/probes/phone=<label>/probes.parquet`, which has all of a phone's probes where there are any; returns how
    many phones were new.

    Nothing but the ledger is read, so traces that were lost can be written again. A file notes which revision of its
    phone's traces it holds: one that holds the present one stays as it is. Memory does not grow with their number.
    """
    campaign = ledger.get("campaign_name") or folder.name
    # Not only those that the phones have now: an update makes another class of a phone.
    of_class = cache(partial(_of_class, ledger))
    revisions = {f"phone={phone}": (phone, f"{ledger.owner} {number}") for phone, number in ledger.revisions().items()}
    count = 0
    for name, (phone, revision) in revisions.items():
        traces, probes = folder / "traces" / name / "traces.parquet", folder / "probes" / name / "probes.parquet"
        if revision_of(traces) == revision:
            continue
        # The probes first: the traces' revision speaks for both. A phone without any needs no file for them.
        for path, attempts in ((probes, iter(ledger.probes(phone))), (traces, iter(ledger.accepted(phone)))):
            first = list(islice(attempts, 1))
            if path is probes and not first:
                path.unlink(missing_ok=True)
                continue
            rows = (_row(attempt, campaign, of_class(attempt["device_class"])) for attempt in chain(first, attempts))
            write_traces(rows, path, revision=revision)
        count += 1
    for kind in ("traces", "probes"):
        for stale in (folder / kind).glob("phone=*"):
            if stale.name not in revisions:
                shutil.rmtree(stale)
    return count


def _of_class(ledger: Ledger, device_class: str) -> dict[str, Any]:
    """What all traces of a device class have in common."""
    point = json.loads(ledger.get(f"profile {device_class}") or "{}").get("operating_point", {})
    return {
        "device_class": device_class,
        "precision": point.get("precision", "fp32"),  # absent where an earlier version met the phone
        **{name: point.get(name) for name in ("agent_build", "isa", "backend")},
        "operating_point": _text(point),
    }


def _row(attempt: dict[str, Any], campaign: str, of_class: dict[str, Any]) -> dict[str, Any]:
    body = json.loads(attempt["body"])
    result = json.loads(attempt["result"])
    plan = body.get("plan") or {}
    operator = body.get("operator")
    rejected = result.get("rejected") or {}
    samples = result.get("samples") or {}
    return {
        "campaign": campaign,
        "phone": attempt["phone"],
        **of_class,
        "job_id": attempt["job"],
        "purpose": attempt["purpose"],
        "attempt": attempt["attempt"],
        "kind": attempt["kind"],
        "operator_type": operator and operator["type"],
        "operator": operator and _text(operator),
        "kernel": plan.get("kernel"),
        "quantities": _text(plan.get("quantities", {})),
        **{name: body.get(name) for name in _FROM_JOB},
        "join": body.get("join", body.get("wait")),
        "mode": body.get("mode", "single") if attempt["kind"] == "gpu" else None,
        **{name: result.get(name) for name in _FROM_RESULT},
        **{name: samples.get(name) for name in SAMPLES},
        "variants": _variants(result),
        "nodes": result.get("nodes") and json.dumps(result["nodes"]),
        "rejected_context_switch": rejected.get("context_switch"),
        "rejected_event_order": rejected.get("event_order"),
        **{name: attempt[name] for name in _FROM_BATCH},
    }


def _variants(result: dict[str, Any]) -> list[dict[str, Any]] | None:
    variants = result.get("variants")
    if variants is None:
        return None
    return [
        {
            "name": variant["name"],
            "max_relative_error": variant.get("max_relative_error"),
            **{name: (variant.get("samples") or {}).get(name) for name in SAMPLES},
        }
        for variant in variants
    ]

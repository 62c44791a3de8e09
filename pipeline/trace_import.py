"""Measurements that others made, as traces of runtime `litert`: USC's data set, or anyone's table of operators.

Their launch features come from LiteRT's lowering, since nothing tells how the operators were launched. The folder that
they are brought into holds traces only; `splitfleet train` and `splitfleet evaluate` take it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert import LitertGpu
from splitfleet.kernels.litert.operations import lower_operations
from splitfleet.kernels.litert.usc import PHONE_GPUS
from splitfleet.kernels.litert.usc_operations import PhoneRows, read_phone
from splitfleet.predictors.litert_networks import write_networks
from splitfleet.predictors.traces import write_traces

from .network_import import measured_networks
from .operation_table import read_table
from .profile import slug

USC, TABLE = "usc-mobile-ml", "table"
FORMATS = (USC, TABLE)
RUNTIME = "litert"
_PRECISION = "fp16"
_CAMPAIGN_FILES = ("campaign.toml", "ledger.sqlite")


@dataclass(frozen=True)
class Imported:
    """What an import brought in: traces by operator type, rows without a time, rows that were passed over and why.

    `networks` were measured whole.
    """

    path: Path
    device_class: str
    traces: dict[str, int]
    untimed: int
    skipped: dict[str, int]
    networks: int = 0


def import_traces(
    file: Path, into: Path, *, format: str, phone: str, gpu: str, networks: Path | None = None
) -> Imported:
    """Writes the measurements of one phone in `file` as traces below `into`; a file imported again takes its own place.

    `networks` is a CSV file with the times of whole networks whose operations are in `file`: columns `model` and
    `PHONE|gpu|float|mean` (usc-mobile-ml), or `network` and `time_us` (table).

    Raises UserError for an unknown format or GPU, a folder that a campaign uses or that cannot be written, and (with
    file and line) for what cannot be read.
    """
    if format not in FORMATS:
        raise UserError(f"--format {format!r} is unknown; known: {', '.join(FORMATS)}")
    with _writing_into(into):
        found = [name for name in _CAMPAIGN_FILES if (into / name).exists()]
    if found:
        raise UserError(f"{into} belongs to a campaign (it holds {found[0]}); bring traces into a folder of their own")
    known = _gpu_of(phone, gpu)
    rows = read_phone(file, phone) if format == USC else read_table(file)
    if not rows.timed:
        raise UserError(f"{file}: no row has a time of {phone}; there is nothing to import")
    name = device_class_of(phone, gpu)
    columns = ("model", f"{phone}|gpu|float|mean") if format == USC else ("network", "time_us")
    whole = () if networks is None else measured_networks(networks, rows.listed, *columns)
    path = into / "traces" / f"phone={slug(phone)}" / f"{slug(file.stem)}.parquet"
    with _writing_into(into):
        write_traces(_traces(file, rows, phone, name, known, gpu), path)
        if networks is not None:
            write_networks(whole, name, into / "networks" / f"phone={slug(phone)}" / f"{slug(file.stem)}.parquet")
    types = pd.Series([timed.operation.type for timed in rows.timed]).value_counts()
    return Imported(
        path, name, {str(kind): int(count) for kind, count in types.items()}, rows.untimed, rows.skipped, len(whole)
    )


@contextmanager
def _writing_into(into: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{into}: cannot be written ({error}); make room there, or name another folder") from error


def device_class_of(phone: str, gpu: str) -> str:
    """The device class of imported traces: a phone's GPU under this runtime."""
    digest = sha256(json.dumps(_operating_point(gpu), sort_keys=True).encode()).hexdigest()[:8]
    return f"{slug(phone)}-{digest}"


def _operating_point(gpu: str) -> dict[str, str]:
    return {"runtime": RUNTIME, "gpu": LitertGpu.from_name(gpu).name.lower().replace("-", " "), "precision": _PRECISION}


def _gpu_of(phone: str, name: str) -> LitertGpu:
    """The GPU by its name. The data set's phones are known by the number of their cores, which a name may leave out."""
    gpu = LitertGpu.from_name(name)
    known = PHONE_GPUS.get(phone)
    if known is not None and known.upper().replace("-", " ").startswith(name.upper().replace("-", " ")):
        return LitertGpu.from_name(known)
    return gpu


def _traces(
    file: Path, rows: PhoneRows, phone: str, device_class: str, gpu: LitertGpu, named: str
) -> Iterable[dict[str, Any]]:
    point = json.dumps(_operating_point(named), sort_keys=True)
    operations = [timed.operation for timed in rows.timed]
    table = lower_operations(operations, gpu, _PRECISION)
    quantities = table.drop(columns=["family", "kernel"]).to_dict("records")
    for timed, kernel, of_launch in zip(rows.timed, table["kernel"], quantities, strict=True):
        fused = {f"fused_{name}": count for name, count in timed.fused.items()}
        yield {
            "campaign": slug(file.stem),
            "phone": slug(phone),
            "device_class": device_class,
            "job_id": f"{slug(file.stem)}:{timed.line:06}:{slug(timed.network)}",
            "purpose": "measure",
            "attempt": 1,
            "kind": "gpu",
            "operator_type": timed.operation.type,
            "operator": json.dumps(timed.operation.to_json(), sort_keys=True),
            "kernel": kernel,
            "quantities": json.dumps({**of_launch, **fused}, sort_keys=True),
            "precision": _PRECISION,
            "mode": "single",
            "status": "ok",
            "start_ns": [0],
            "end_ns": [round(timed.time_us * 1e3)],
            "operating_point": point,
        }

"""Small campaign files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_BODY = """
[fleet]
batch_s = 1.0
grace_s = 30.0
probe_every_s = PROBES
sister_fraction = SISTERS
drift = DRIFT

[measure]
samples = { linear = SAMPLES, conv2d = 2 }
coexec_share = JOINT
joins = ["event_wait"]
checked_joins = 10
transfers = []
[measure.repeat]
warmup = 1
min_count = 1
min_time_us = LEAST
max_count = MOST
max_time_us = LONGEST

[[layers]]
name = "fc"
type = "linear"
rows = 8
in = 64
out = 96

[[layers]]
name = "conv"
type = "conv2d"
height = 8
width = 8
in = 8
out = 32
kernel = 3
padding = 1
"""


def campaign_body(
    samples: int = 3,
    probe_every_s: float = 0,
    sister_fraction: float = 0,
    drift: float = 0.05,
    joint: float = 0,
    job_us: int = 0,
) -> str:
    """A campaign file without its head. `samples` are linear: each new convolution costs a compile. Without probes,
    sisters and joint executions (`joint`: their share), which cost time, where these are not asked for. Jobs take
    `job_us`, where a campaign is to last for several batches on any machine; else a few repetitions, with much time to
    get them where the machine is busy."""
    values = {"SAMPLES": samples, "PROBES": probe_every_s, "SISTERS": sister_fraction, "DRIFT": drift, "JOINT": joint}
    values |= {"LEAST": job_us, "MOST": 10_000 if job_us else 3, "LONGEST": job_us or 400_000}
    body = _BODY
    for name, value in values.items():
        body = body.replace(name, str(value))
    return body


def write_campaign(folder: Path, *addresses: str, name: str = "tiny", **values: Any) -> Path:
    """A campaign of some small layers on the phones at these addresses; `values` are `campaign_body`'s."""
    listed = ", ".join(f'"{address}"' for address in addresses)
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\nseed = 5\n[phones]\ntcp = [{listed}]\n' + campaign_body(**values), "utf-8")
    return path

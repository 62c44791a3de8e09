"""Probe jobs: the same few fixed jobs on every phone of a class, whose times tell whether the phone runs as it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from splitfleet.kernels.operators import Linear

from .campaign import Repeat
from .jobs import Job, JobFactory
from .profile import DeviceProfile
from .scheduling import ProbeReading

# A launch that is nearly nothing but dispatch, and one that keeps all compute units at work for a while, as the CPU's
# does: heat lowers clocks only where there is work.
_SMALL = Linear(8, 64, 64)
_MID = Linear(64, 512, 512)
_REPEAT = Repeat(warmup=3, min_count=15, min_time_us=20_000, max_count=60, max_time_us=150_000, ci=0.02)
_NORMAL_MEDIAN = 1.2533  # the standard error of a median over that of a mean, for normal errors
_MAD_TO_SIGMA = 1.4826


def plan_probes(profile: DeviceProfile) -> list[Job]:
    """A small and a mid-sized linear layer on the GPU and the mid-sized one on one CPU thread; some tenths of a second.

    Their outputs are not verified: that is what jobs do.
    """
    make = JobFactory(profile, _REPEAT)
    return [make.probe(job) for job in (make.gpu(_SMALL), make.gpu(_MID), make.cpu(_MID, 1))]


def read_probe(line: Mapping[str, Any]) -> ProbeReading | None:
    """The median time of a probe job's result line: of the GPU's execution on the device's clock, of the CPU on the
    host's. None where the job gave none."""
    samples = line.get("samples") or {}
    if line.get("status") != "ok":
        return None
    if samples.get("start_ns") and samples.get("end_ns"):
        times_us = (np.asarray(samples["end_ns"], np.float64) - np.asarray(samples["start_ns"], np.float64)) / 1e3
    else:
        times_us = np.asarray(samples.get("wall_ns") or [], np.float64) / 1e3
    if not len(times_us) or (median_us := float(np.median(times_us))) <= 0:
        return None
    sigma_us = _MAD_TO_SIGMA * float(np.median(np.abs(times_us - median_us)))
    return ProbeReading(str(line["id"]), median_us, _NORMAL_MEDIAN * sigma_us / len(times_us) ** 0.5 / median_us)

"""`sampling = "adaptive"`: which operators a device class measures, batch by batch.

The first batch has the halves of joint executions; the rest of it is half true layers, half spread over all candidates.
What follows is chosen where the least is known (`predictors.proposing`), and what decides about splits counts as much
as all the rest: the two halves of each layer at the cut that is best as far as is known. Candidates are those halves
and CANDIDATES times as many as random sampling would draw. Each batch follows from the campaign and the traces of the
batches before it alone, so a campaign that was interrupted finds its place again: the same traces give the same
operators.
"""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from math import ceil

import numpy as np
import pandas as pd

from splitfleet.kernels import (
    Operator,
    cuts,
    describe_channels,
    describe_many,
    lower_channels,
    lower_many,
    operator_from_json,
    slice_output,
)
from splitfleet.kernels.errors import UserError
from splitfleet.predictors.curves import default_step
from splitfleet.predictors.observations import training_sets
from splitfleet.predictors.predictor import GPU_EXECUTION
from splitfleet.predictors.probing import centres
from splitfleet.predictors.proposing import Known, propose

from .campaign import Campaign
from .profile import DeviceProfile
from .sampling import candidate_operators, explicit_operators, joint_halves, layer_operators

CANDIDATES = 4
SHARES = (0.4, 0.6, 0.8, 1.0)
"""What part of the samples is measured after each batch."""

_COLUMNS = ("m", "n", "k", "in_channels", "in_height", "kernel_h", "stride", "flops")


def adaptive_operators(campaign: Campaign, profile: DeviceProfile, traces: pd.DataFrame, batch: int) -> list[Operator]:
    """The operators of all batches up to this one, from 0; `traces` are the class's, of any state of the campaign."""
    candidates = candidate_operators(campaign, CANDIDATES)
    chosen = _start(campaign, candidates)
    for number in range(1, batch + 1):
        chosen += _next(campaign, profile, traces, candidates, chosen, number)
    return list(dict.fromkeys([*explicit_operators(campaign), *chosen]))


def _start(campaign: Campaign, candidates: dict[str, list[Operator]]) -> list[Operator]:
    """Both processors' joint halves, half of what is left true layers, and the rest spread over all candidates."""
    layers, halves = set(layer_operators(campaign)), set(joint_halves(campaign))
    chosen: list[Operator] = []
    for kind, operators in candidates.items():
        count = _wanted(campaign, kind, 0, operators)
        certain = [operator for operator in operators if operator in halves][:count]
        room = ceil((count - len(certain)) / 2)
        certain += [operator for operator in operators if operator in layers and operator not in halves][:room]
        others = [operator for operator in operators if operator not in certain]
        if count > len(certain):
            rows = centres(describe_many(others), count - len(certain), _COLUMNS)
            certain += [others[row] for row in rows]
        chosen += certain
    return chosen


def _next(
    campaign: Campaign,
    profile: DeviceProfile,
    traces: pd.DataFrame,
    candidates: dict[str, list[Operator]],
    chosen: list[Operator],
    batch: int,
) -> list[Operator]:
    """The batch's operators; without enough traces yet, the next of the candidates as they were drawn."""
    have = set(chosen)
    left = [operator for operators in candidates.values() for operator in operators if operator not in have]
    counts = {
        kind: _wanted(campaign, kind, batch, operators) - sum(one.type == kind for one in chosen)
        for kind, operators in candidates.items()
    }
    known = _known(campaign, profile, traces, have) if left else None
    if known is None:
        return [one for kind, count in counts.items() for one in [op for op in left if op.type == kind][:count]]
    decisive = [half for half in _deciding_halves(campaign, profile, *known) if half not in have]
    open_ = list(dict.fromkeys([*left, *decisive]))
    is_decisive = np.isin(np.arange(len(open_)), [open_.index(half) for half in decisive])
    weights = np.where(is_decisive, (~is_decisive).sum() / max(is_decisive.sum(), 1), 1.0)
    gpu, cpu = known
    unknown = [gpu.unknown(gpu.frame(_lowered(open_, profile))), cpu.unknown(cpu.frame(describe_many(open_)))]
    return [open_[row] for row in propose(unknown, [one.type for one in open_], counts, weights)]


def _wanted(campaign: Campaign, kind: str, batch: int, operators: list[Operator]) -> int:
    samples = int(getattr(campaign.measure.samples, kind))
    return ceil(SHARES[batch] * min(samples, len(operators)))


def _known(
    campaign: Campaign, profile: DeviceProfile, traces: pd.DataFrame, have: set[Operator]
) -> tuple[Known, Known] | None:
    """GPU execution, and the CPU with the fewest threads, as the batches before have them; None where they have too
    little to learn from."""
    if traces.empty:
        return None
    is_sound = (traces["status"] == "ok") & (traces["purpose"] == "measure")
    measured = traces[is_sound & traces["operator"].notna()]
    used = measured[[operator_from_json(json.loads(text)) in have for text in measured["operator"]]]
    try:
        sets = training_sets(used, profile.device_class)
    except UserError:
        return None
    cpu = min((name for name in sets if name.startswith("cpu_t")), key=lambda name: (len(name), name))
    return Known.of(sets[GPU_EXECUTION], campaign.seed), Known.of(sets[cpu], campaign.seed)


def _deciding_halves(campaign: Campaign, profile: DeviceProfile, gpu: Known, cpu: Known) -> list[Operator]:
    """Both halves of each layer at the cut where the later one is expected to end first."""
    layers = [layer for layer in layer_operators(campaign) if cuts(layer).size]
    if not layers:
        return []
    at = [cuts(layer, default_step(layer)) for layer in layers]
    precision, tuned = profile.conditions.precision, profile.tuning
    launches = [
        lower_channels(layer, layer.channels - cut, profile.device, precision=precision, tuned=tuned)
        for layer, cut in zip(layers, at, strict=True)
    ]
    shapes = [describe_channels(layer, cut) for layer, cut in zip(layers, at, strict=True)]
    on_gpu = gpu.predict_us(gpu.frame(pd.concat(launches, ignore_index=True)))
    on_cpu = cpu.predict_us(cpu.frame(pd.concat(shapes, ignore_index=True)))
    later = np.maximum(on_gpu, on_cpu)
    found: list[Operator] = []
    for layer, cut, (first, last) in zip(layers, at, pairwise(accumulate(map(len, at), initial=0)), strict=True):
        best = int(cut[np.argmin(later[first:last])])
        found += [slice_output(layer, 0, best), slice_output(layer, best, layer.channels)]
    return list(dict.fromkeys(found))


def _lowered(operators: list[Operator], profile: DeviceProfile) -> pd.DataFrame:
    return lower_many(operators, profile.device, precision=profile.conditions.precision, tuned=profile.tuning)

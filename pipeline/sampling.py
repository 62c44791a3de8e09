"""Which operators are measured: a deterministic sample around the campaign's layers.

A split needs the times of slices of a layer along its output channels, so most samples are such slices; the rest are
neighbours with jittered sizes, so that predictors generalise to layers that nobody listed. Some slices are the two
halves of a layer, which are also executed together: what both at once cost each other is learnt from these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import cycle
from random import Random
from typing import Any

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import CUT_MULTIPLE, Conv2d, Linear, Operator, slice_output
from splitfleet.predictors.checked_joins import CheckedJoins
from splitfleet.predictors.split_table import SVM_POLL, Join

from .campaign import Campaign
from .jobs import Job, JobFactory
from .layers import operators_of
from .profile import DeviceProfile

_SLICE_SHARE = 0.6
_JITTER_OCTAVES = 0.7
_TRIES_PER_SAMPLE = 50
BUFFER_TRANSFERS = ("map_read", "map_write", "read", "write", "copy", "fill")
IMAGE_TRANSFERS = ("image_write", "image_read")
_TIMED_JOINS = 100
_FEW_CHECKED_JOINS = 1_000
_CHECKED_JOINS_A_JOB = 50_000  # some seconds of work


def sample_operators(campaign: Campaign) -> list[Operator]:
    """The operators to measure, each once: explicit cuts' halves, then per type layers, slices and neighbours.

    The same campaign gives the same operators in the same order, on every device class.
    """
    drawn = candidate_operators(campaign, 1).values()
    return list(dict.fromkeys([*explicit_operators(campaign), *(one for of_type in drawn for one in of_type)]))


def explicit_operators(campaign: Campaign) -> list[Operator]:
    """The halves of explicit cuts."""
    return list(dict.fromkeys(half for layer in campaign.layers for half in _halves(layer.operator, layer.cut)))


def candidate_operators(campaign: Campaign, times: int) -> dict[str, list[Operator]]:
    """By type, halves of `sample_joint`, layers, slices and neighbours: `times` as many as there are to be samples."""
    joint = joint_halves(campaign)
    found = {}
    for type_name, count in campaign.measure.samples.model_dump().items():
        random = Random(f"{campaign.seed} {type_name}")
        of_type = [layer for layer in layer_operators(campaign) if layer.type == type_name]
        halves = [half for half in joint if half.type == type_name]
        found[type_name] = _around(of_type, halves, times * count, random)
    return found


def joint_halves(campaign: Campaign) -> list[Operator]:
    """The halves of the layers that are executed by both processors at once."""
    return [half for operator, cut in sample_joint(campaign) for half in _halves(operator, (cut,))]


def layer_operators(campaign: Campaign) -> list[Operator]:
    """What the layers stand for, each once."""
    return list(dict.fromkeys(operator for layer in campaign.layers for operator in operators_of(layer)))


def sample_joint(campaign: Campaign) -> list[tuple[Operator, int]]:
    """The layers and cuts that are executed by both processors at once: `coexec_share` of each type's samples.

    Both halves are among `sample_operators`, unless these are too few.
    """
    pairs = []
    for type_name, count in campaign.measure.samples.model_dump().items():
        layers = [
            layer for layer in layer_operators(campaign) if layer.type == type_name and layer.channels > CUT_MULTIPLE
        ]
        random = Random(f"{campaign.seed} {type_name} joint")
        wanted = round(campaign.measure.coexec_share * count) if layers else 0
        drawn = random.sample(layers, min(wanted, len(layers))) + random.choices(layers, k=max(0, wanted - len(layers)))
        pairs += [(layer, CUT_MULTIPLE * random.randint(1, (layer.channels - 1) // CUT_MULTIPLE)) for layer in drawn]
    return list(dict.fromkeys(pairs))


def plan_jobs(
    campaign: Campaign,
    profile: DeviceProfile,
    checked_before: CheckedJoins | None = None,
    operators: Sequence[Operator] | None = None,
) -> list[Job]:
    """The jobs of one device class: each operator on the GPU and for each thread count on the CPU, some layers by both
    at once, each join, and each transfer.

    Thread counts above the number of cores in the mask, polling without fine-grained SVM, images where there are none
    and transfers larger than one allocation are left out.
    `checked_before` are joins by polling that earlier campaigns of the class checked. Without `operators` they are
    those of `sample_operators`. Raises UserError when no thread count remains.
    """
    measure = campaign.measure
    threads = thread_counts(campaign, profile)
    make = JobFactory(profile, measure.repeat)
    operators = sample_operators(campaign) if operators is None else operators
    jobs = [make.gpu(operator) for operator in operators]
    if "chain" in measure.modes:
        jobs += [make.gpu(operator, chain_length=measure.chain_length) for operator in operators]
    jobs += [make.cpu(operator, count) for count in threads for operator in operators]
    joins = allowed_joins(campaign, profile)
    ways = cycle([(count, join) for count in threads for join in joins])
    jobs += [make.coexec(layer, cut, *next(ways)) for layer, cut in sample_joint(campaign) if joins]
    for join in joins:
        jobs += _sync_jobs(make, join, threads, measure.checked_joins, checked_before or CheckedJoins())
    return jobs + [make.transfer(operation, size) for operation, size in _transfers(campaign, profile)]


def _transfers(campaign: Campaign, profile: DeviceProfile) -> list[tuple[str, int]]:
    """Every operation that the device can do, with each size that one allocation may have."""
    opencl = profile.capabilities["opencl"]
    images = IMAGE_TRANSFERS if min(opencl["image2d_max"]) else ()
    sizes = [size for size in campaign.measure.transfers if size <= opencl["max_alloc_bytes"]]
    return [(operation, size) for operation in (*BUFFER_TRANSFERS, *images) for size in sizes]


def _sync_jobs(make: JobFactory, join: Join, threads: list[int], checked_joins: int, before: CheckedJoins) -> list[Job]:
    """One timed job for each thread count; more where the joins to check are too many for one.

    Only polling needs them all: the other joins wait for OpenCL itself.
    """
    # A join takes microseconds, and its tail counts.
    repeat = make.repeat.model_copy(update={"min_count": _TIMED_JOINS, "max_count": 2 * _TIMED_JOINS})
    make = replace(make, repeat=repeat)
    few = min(checked_joins, _FEW_CHECKED_JOINS)
    if join != SVM_POLL:
        return [make.sync(count, join, few) for count in threads]
    share = max(few, -(-(checked_joins - before.joins) // len(threads)))
    parts = -(-share // _CHECKED_JOINS_A_JOB) or 1
    return [make.sync(count, join, -(-share // parts), part) for count in threads for part in range(parts)]


def thread_counts(campaign: Campaign, profile: DeviceProfile) -> list[int]:
    """The campaign's thread counts that the device has cores for. Raises UserError when none remains."""
    asked = campaign.measure.threads
    if asked == "all":
        return list(range(1, profile.max_threads + 1))
    threads = [count for count in asked if count <= profile.max_threads]
    if not threads:
        raise UserError(
            f"{profile.device_class} has {profile.max_threads} cores for jobs, and the campaign asks for threads = "
            f"{list(asked)}; add {profile.max_threads} to measure.threads"
        )
    return threads


def allowed_joins(campaign: Campaign, profile: DeviceProfile) -> list[Join]:
    """The campaign's joins that the device can do: polling needs fine-grained SVM with atomics."""
    polling = profile.device.svm_polling
    return [join for join in campaign.measure.joins if polling or join != "svm_poll"]


def _halves(operator: Operator, cuts: Iterable[int]) -> list[Operator]:
    channels = operator.channels
    return [half for cut in cuts for half in (slice_output(operator, 0, cut), slice_output(operator, cut, channels))]


def _around(layers: list[Operator], halves: list[Operator], count: int, random: Random) -> list[Operator]:
    """`count` different operators: the layers themselves first, then the halves, then slices and neighbours in turn."""
    if not layers or count == 0:
        return []
    first = dict.fromkeys([*random.sample(layers, min(len(layers), count)), *halves])
    chosen = dict.fromkeys(list(first)[:count])
    for _ in range(_TRIES_PER_SAMPLE * count):
        if len(chosen) == count:
            break
        make: Callable[[Operator, Random], Operator | None]
        make = _slice if random.random() < _SLICE_SHARE else _neighbour
        operator = make(random.choice(layers), random)
        if operator is not None:
            chosen.setdefault(operator)
    return list(chosen)


def _slice(layer: Operator, random: Random) -> Operator | None:
    """The layer's first channels: as many on a logarithmic scale as on a linear one, since small halves matter too."""
    groups = (layer.channels - 1) // CUT_MULTIPLE
    if groups < 1:
        return None
    drawn = math.exp(random.uniform(0, math.log(groups))) if random.random() < 0.5 else random.uniform(1, groups)
    return slice_output(layer, 0, CUT_MULTIPLE * max(1, round(drawn)))


def _neighbour(layer: Operator, random: Random) -> Operator | None:
    """The layer with channels and spatial size (or rows) each scaled by up to a factor of 2 ** _JITTER_OCTAVES."""
    spatial = _factor(random)
    if isinstance(layer, Linear):
        rows = max(1, round(layer.rows * spatial)) if layer.rows > 1 else 1
        inputs, outputs = _scaled(layer.in_features, random), _scaled(layer.out_features, random)
        return replace(layer, rows=rows, in_features=inputs, out_features=outputs)
    names = ("in_channels", "out_channels") if isinstance(layer, Conv2d) else ("channels",)
    sizes: dict[str, Any] = {name: max(1, round(getattr(layer, name) * spatial)) for name in ("height", "width")}
    sizes |= {name: _scaled(getattr(layer, name), random) for name in names}
    fits = sizes["height"] + 2 * layer.pad_h >= layer.kernel_h and sizes["width"] + 2 * layer.pad_w >= layer.kernel_w
    return replace(layer, **sizes) if fits else None


def _factor(random: Random) -> float:
    return float(2 ** random.uniform(-_JITTER_OCTAVES, _JITTER_OCTAVES))


def _scaled(channels: int, random: Random) -> int:
    """Scaled to a multiple of four; a layer's few input channels (the three of an image) stay."""
    if channels < CUT_MULTIPLE:
        return channels
    return CUT_MULTIPLE * max(1, round(channels * _factor(random) / CUT_MULTIPLE))

"""Adaptive sampling: batches follow from the campaign and the traces, and go where little is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from splitfleet.kernels import Operator, describe_many, lower_many, operator_from_json
from splitfleet.pipeline.adaptive import SHARES, adaptive_operators
from splitfleet.pipeline.campaign import Campaign, load_campaign
from splitfleet.pipeline.campaign_run import campaign_of, run_campaign
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.profile import load_profiles
from splitfleet.pipeline.sampling import sample_operators
from splitfleet.predictors.traces import read_traces

from ..conftest import StartPhone
from ..predictors import synthetic
from .profiles import profile

LAYERS = """
name = "adaptive"
seed = 2
[measure]
samples = { linear = 20, conv2d = 20 }
sampling = "adaptive"
coexec_share = 0.1
[[layers]]
name = "fc"
type = "linear"
rows = 48
in = 256
out = 1024
cut = [252]
[[layers]]
name = "conv"
type = "conv2d"
height = 28
width = 28
in = 64
out = 256
kernel = 3
padding = 1
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    (tmp_path / "c.toml").write_text(LAYERS)
    return load_campaign(tmp_path / "c.toml")


def measured(operators: list[Operator], folder: Path) -> pd.DataFrame:
    """Traces of the operators on the phone of `profile()`, with a law and a little noise."""
    draw = np.random.default_rng(5)
    table, shapes = lower_many(operators, profile().device), describe_many(operators)
    rows = []
    for index, operator in enumerate(operators):
        launch = {key: value for key, value in table.iloc[index].items() if key not in ("kernel", "family")}
        shape = {"operator_type": operator.type, "operator": json.dumps(operator.to_json())}
        plan = {
            "kernel": table["kernel"].iloc[index],
            "quantities": json.dumps({k: float(v) for k, v in launch.items()}),
        }
        us = (5 + shapes["flops"].iloc[index] / 3e4) * np.exp(0.01 * draw.standard_normal())
        end = [round(1e3 * us)] * 5
        events = {
            "queued_ns": [0] * 5,
            "submit_ns": [1] * 5,
            "start_ns": [10_000] * 5,
            "end_ns": [10_000 + t for t in end],
        }
        gpu = {**shape, **plan, "join": "event_wait", **events, "wall_ns": [60_000 + t for t in end]}
        rows.append(synthetic.trace_row("gpu", f"g{index}", **gpu))
        rows.append(synthetic.trace_row("cpu", f"c{index}", **shape, threads=1, core_mask=2, wall_ns=end))
    rows.append(synthetic.trace_row("sync", "s", join="finish", threads=1, **events, wall_ns=[60_000] * 5))
    return synthetic.traces(folder, rows)


def test_batches_grow_to_the_number_of_samples_and_follow_from_traces_alone(campaign: Campaign, tmp_path: Path) -> None:
    phone = profile()
    start = adaptive_operators(campaign, phone, pd.DataFrame(), 0)
    layers = {layer.operator for layer in campaign.layers}
    assert layers <= set(start)
    assert len(start) == 2 * 8 + 2  # 40 % of each type, and the halves of the cut
    traces = measured(start, tmp_path / "a")
    second = adaptive_operators(campaign, phone, traces, 1)
    assert second[: len(start)] == start
    assert len(second) == 2 * 12 + 2
    # more traces do not change what was chosen without them
    more = measured(second, tmp_path / "b")
    assert adaptive_operators(campaign, phone, more[more["job_id"].isin(set(traces["job_id"]))], 1) == second
    whole = adaptive_operators(campaign, phone, more, len(SHARES) - 1)
    assert len(whole) == 2 * 20 + 2
    assert len(set(whole)) == len(whole)


def test_without_traces_the_candidates_follow_as_they_were_drawn(campaign: Campaign) -> None:
    found = adaptive_operators(campaign, profile(), pd.DataFrame(), len(SHARES) - 1)
    assert len(found) == 2 * 20 + 2


def test_random_sampling_stays_the_default_and_keeps_campaigns_identity(campaign: Campaign, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(LAYERS.replace('sampling = "adaptive"\n', ""))
    random = load_campaign(tmp_path / "r.toml")
    assert random.measure.sampling == "random"
    assert random.id != campaign.id
    assert sample_operators(random) == sample_operators(replace(campaign, measure=random.measure))


def test_a_campaign_goes_through_its_batches_and_ends_where_it_ended_before(
    ray: None, settings: FleetSettings, start_phone: StartPhone, tmp_path: Path
) -> None:
    # short kernels: another process that takes their core for a moment does not spoil every repetition
    small = LAYERS.replace("= 20", "= 10").replace("out = 1024", "out = 512").replace("= 28", "= 8")
    head, layers = small.split("[[layers]]", 1)
    repeat = "[measure.repeat]\nwarmup = 0\nmin_count = 1\nmin_time_us = 0\nmax_count = 20\n"
    quick = f"checked_joins = 0\ntransfers = []\n{repeat}"
    phones = f'[phones]\ntcp = ["{start_phone().address}"]\n'
    (tmp_path / "c.toml").write_text(f"{head}{quick}{phones}[fleet]\nprobe_every_s = 0\n[[layers]]{layers}")
    folder = tmp_path / "run"
    [counts] = run_campaign(tmp_path / "c.toml", folder, settings=settings).counts
    traces = read_traces(folder)
    operators = {operator_from_json(json.loads(text)) for text in traces["operator"].dropna()}
    # The halves of the layer's own cut may be among those that were chosen.
    assert 2 * 10 <= len(operators) <= 2 * 10 + 2
    assert counts.done + counts.rejected == counts.jobs == len(traces)
    [found] = load_profiles(folder / "profiles").values()
    assert operators == set(adaptive_operators(campaign_of(folder), found, traces, len(SHARES) - 1))
    # nothing is left to do, and nothing else is chosen
    [again] = run_campaign(tmp_path / "c.toml", folder, settings=settings).counts
    assert again == counts
    assert len(read_traces(folder)) == len(traces)

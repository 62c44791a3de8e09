"""Whole networks on the phones of USC's data set: predicted operators and a fitted overhead against measured times.

Needs USC's tflite_cnn_ops_gpu.csv and tflite_cnn_e2e.csv, named by SPLITFLEET_USC_CSV and SPLITFLEET_USC_NETWORKS_CSV.
SPLITFLEET_REPLAY_PHONES (default all) makes it shorter. Each operator is predicted by models that have not seen its
shape, each network by an overhead fitted to networks of the other folds.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from splitfleet.kernels.litert.usc import PHONE_GPUS
from splitfleet.pipeline.trace_import import import_traces
from splitfleet.predictors.breakdown import held_out_metrics
from splitfleet.predictors.litert_networks import fit_networks, read_networks
from splitfleet.predictors.litert_train import LitertTraining, train_litert
from splitfleet.predictors.traces import read_traces

RECORDED, NETWORKS = "SPLITFLEET_USC_CSV", "SPLITFLEET_USC_NETWORKS_CSV"
PHONES = tuple(os.environ.get("SPLITFLEET_REPLAY_PHONES", ",".join(PHONE_GPUS)).split(","))
SEED, SMALL_US = 0, 3000
FIGURES = ("n", "mape", "median_ape", "within_5", "within_10", "within_15", "coverage_90", "width")

pytestmark = pytest.mark.skipif(
    not {RECORDED, NETWORKS} <= os.environ.keys(), reason=f"{RECORDED}, {NETWORKS} name no files"
)


def bench_networks(tmp_path: Path) -> None:
    """Per phone: errors of whole networks, the overhead, what is left with measured operators, and the worst."""
    for phone in PHONES:
        folder = tmp_path / phone
        recorded, whole = (Path(os.environ[name]) for name in (RECORDED, NETWORKS))
        words = {"format": "usc-mobile-ml", "phone": phone, "gpu": PHONE_GPUS[phone]}
        import_traces(recorded, folder, networks=whole, **words)
        trained = train_litert(read_traces(folder), SEED)
        fit = fit_networks(trained, read_networks(folder, trained.models.device_class))
        rows = fit.held_out
        print(f"\n{phone}: {_figures(held_out_metrics(rows))}")
        print(f"  overhead: {', '.join(f'{name} {value:.4g}' for name, value in asdict(fit.overhead).items())}")
        small = rows["measured_us"] < SMALL_US
        for name, part in ((f"below {SMALL_US} us", rows[small]), ("others", rows[~small])):
            if len(part):
                print(f"  {name}: {_figures(held_out_metrics(part))}")
        print(f"  operators as measured where they were: {_with_measured(trained, folder)}")
        errors = (rows["predicted_us"] / rows["measured_us"] - 1) * 100
        for index in np.argsort(-np.abs(errors.to_numpy()))[:5]:
            row = rows.iloc[index]
            print(f"  worst: {row['network']}, {row['measured_us']:.0f} us: {errors.iloc[index]:+.1f} %", flush=True)


def _figures(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {metrics[name]:.1f}" for name in FIGURES)


def _with_measured(trained: LitertTraining, folder: Path) -> str:
    """The same overhead on the times that the operators' shapes had: what the predictors' own error is worth."""
    of_shape = trained.held_out.assign(predicted_us=trained.held_out["measured_us"])
    known = replace(trained, held_out=of_shape)
    rows = fit_networks(known, read_networks(folder, trained.models.device_class)).held_out
    figures = held_out_metrics(rows)
    return f"mape {figures['mape']:.1f}, within_10 {figures['within_10']:.1f}"

"""Training a fleet: 50 small device classes as Ray tasks against one after the other, and what starting Ray costs.

python -m pytest tests/bench/bench_training.py -s -q -o python_files='bench_*.py' -o python_functions='bench_*'
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from splitfleet.pipeline.training_tasks import FITTED, fit_classes
from splitfleet.predictors.observations import training_sets

from ..predictors import synthetic

_CLASSES = int(os.environ.get("SPLITFLEET_BENCH_CLASSES", "50"))
_SHAPES = 20


def bench_fifty_classes(tmp_path: Path) -> None:
    classes = {}
    for index in range(_CLASSES):
        folder = tmp_path / f"traces-{index}"
        traces = synthetic.traces(folder, synthetic.trace_rows(_SHAPES, seed=index))
        sets = training_sets(traces, synthetic.DEVICE_CLASS)
        classes[f"class-{index:02}"] = {"gpu_execution": sets["gpu_execution"]}
    took = {}
    for name, ray_from in (("here", _CLASSES + 1), ("ray", 1)):
        began = time.monotonic()
        fit_classes(classes, 0, tmp_path / name, ray_from=ray_from)
        took[name] = time.monotonic() - began
    began = time.monotonic()
    fit_classes(classes, 0, tmp_path / "ray", ray_from=1)
    again = time.monotonic() - began
    for name in classes:
        files = [tmp_path / where / FITTED / f"{name}.zip" for where in took]
        assert files[0].read_bytes() == files[1].read_bytes()
    print(
        f"\n{_CLASSES} device classes, a predictor of {_SHAPES} shapes each, {os.cpu_count()} cores: "
        f"one after the other {took['here']:.0f} s, as Ray tasks {took['ray']:.0f} s (with starting Ray), "
        f"ratio {took['here'] / took['ray']:.2f}; kept ones read again in {again:.1f} s; all bytes the same"
    )

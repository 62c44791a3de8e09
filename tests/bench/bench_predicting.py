"""How long predicting, loading a package, and training take, on synthetic traces of one device class.

The bounds are the project's own: all cuts of ResNet-50's layers within 1 s, a package within 300 ms, training on 3,000
traces within 90 s on two cores. Models are those that `splitfleet train` makes, none smaller.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

from splitfleet.pipeline.campaign import load_campaign
from splitfleet.predictors.curves import predict_curves
from splitfleet.predictors.package import build_package, open_package
from splitfleet.predictors.planner import plan_layers
from splitfleet.predictors.train import ClassModels, train_class

from ..predictors import synthetic

DEMO = Path(__file__).parents[2] / "examples" / "demo.toml"
SHAPES, THREADS = 600, (1, 2, 3, 4)  # a GPU trace and four CPU traces a shape
ROUNDS = 7


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ClassModels:
    rows = synthetic.trace_rows(SHAPES, counts=THREADS)
    traces = synthetic.traces(tmp_path_factory.mktemp("traces"), rows)
    start = perf_counter()
    trained = train_class(traces, synthetic.PROFILE, seed=0)
    count = len(traces[traces["kind"] != "sync"])
    print(f"\ntraining on {count} traces, {len(trained.training)} targets: {perf_counter() - start:.1f} s")
    for target, predictor in trained.models.predictors.items():
        points = 0 if predictor.process is None else sum(len(process.points) for _, process in predictor.process.parts)
        figures = trained.metrics[target]
        print(
            f"  {target}: {predictor.booster.num_trees()} trees, processes over {points} shapes, share "
            f"{predictor.share}; MAPE {figures['mape']:.2f} %"
        )
    return trained


def bench_all_cuts_of_resnet50(trained: ClassModels) -> None:
    """Lowering and features included; imports, and loading the models, not."""
    layers = [layer for layer in load_campaign(DEMO).layers if layer.network == "resnet50"]
    operators = [layer.operator for layer in layers for _ in range(layer.count) if layer.operator.type != "pool2d"]
    times_s = []
    for _ in range(ROUNDS):
        start = perf_counter()
        curves = predict_curves(operators, trained.models, synthetic.DEVICE, step=4)
        times_s.append(perf_counter() - start)
    rows, targets = sum(len(each.cuts) for each in curves), len(trained.models.predictors)
    print(
        f"\n{len(operators)} layers, {rows} cuts, {targets} targets: median {median(times_s) * 1e3:.0f} ms, "
        f"first {times_s[0] * 1e3:.0f} ms, longest {max(times_s) * 1e3:.0f} ms"
    )


def bench_loading_a_package(trained: ClassModels, tmp_path: Path) -> None:
    """Every byte is checked. Golden shapes are not predicted: `verify_package` does that."""
    table = plan_layers(synthetic.layers(60, seed=11), trained.models, synthetic.DEVICE)
    path = build_package(trained, table, tmp_path / "package.zip")
    times_s = []
    for _ in range(ROUNDS):
        start = perf_counter()
        open_package(path)
        times_s.append(perf_counter() - start)
    print(
        f"\na package of {path.stat().st_size / 1e6:.1f} MB: median {median(times_s) * 1e3:.0f} ms, "
        f"first {times_s[0] * 1e3:.0f} ms"
    )

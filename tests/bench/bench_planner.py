"""How long planning takes from a package alone: ResNet-50, a network of 1,000 different layers, and rows 1 to 2,048.

Models are trained on synthetic traces of a phone that does not exist; their size is that of a small campaign's.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from splitfleet.kernels import Linear, Operator
from splitfleet.kernels.network import Network, Node
from splitfleet.pipeline.campaign import load_campaign
from splitfleet.predictors.models import DeviceModels
from splitfleet.predictors.network_planner import plan_network
from splitfleet.predictors.package import build_package, open_package
from splitfleet.predictors.planner import plan_layers
from splitfleet.predictors.row_ranges import plan_rows
from splitfleet.predictors.split_table import RowRange, SplitTable
from splitfleet.predictors.train import train_class

from ..predictors import synthetic

EXAMPLES = Path(__file__).parents[2] / "examples"
SHAPES = 125


def bench_planning() -> None:
    with TemporaryDirectory(prefix="bench-planner-") as name:
        traces = synthetic.traces(Path(name), synthetic.trace_rows(SHAPES))
        trained = train_class(traces, synthetic.PROFILE, seed=7)
        empty = SplitTable.of(trained.models.device_class, trained.models.backend, [])
        package = open_package(build_package(trained, empty, Path(name) / "synthetic.zip"))
    table = Table("what", title="planning from a package alone", caption=f"predictors of {SHAPES} shapes")
    table.add_column("seconds", justify="right")
    table.add_column("result", justify="right")
    models, device = package.models, package.device
    layers = _resnet50()
    began = time.perf_counter()
    planned = plan_layers(layers, models, device)
    table.add_row(f"ResNet-50, {len(layers)} layers", _since(began), f"{len(planned.entries)} rows")
    began = time.perf_counter()
    network = plan_network(_chain(layers), models, device)
    table.add_row("ResNet-50's layers as a chain", _since(began), f"{network.joins} joins")
    thousand = [Linear(1 + index % 7, 64 + 4 * (index // 7), 64 + 4 * (index % 250)) for index in range(1000)]
    began = time.perf_counter()
    network = plan_network(_chain(thousand), models, device)
    table.add_row(f"1,000 nodes, {len(set(thousand))} shapes", _since(began), f"{network.joins} joins")
    table.add_row("rows 1 to 2,048 of a layer", *_rows(models, replace(Linear(1, 768, 3072))))
    Console(width=120).print(table)


def _rows(models: DeviceModels, layer: Linear) -> tuple[str, str]:
    began = time.perf_counter()
    entries = plan_rows(layer, RowRange(1, 2048), models, synthetic.DEVICE)
    return _since(began), f"{len(entries)} ranges"


def _resnet50() -> list[Operator]:
    with TemporaryDirectory(prefix="bench-planner-") as name:
        file = Path(name) / "campaign.toml"
        (Path(name) / "resnet50.toml").write_text((EXAMPLES / "resnet50.toml").read_text("utf-8"), "utf-8")
        file.write_text('name = "x"\n[[layers]]\ninclude = "resnet50.toml"\n', "utf-8")
        layers = load_campaign(file).layers
    known = [layer for layer in layers if layer.type in ("linear", "conv2d")]
    return [layer.operator for layer in known for _ in range(layer.count)]


def _chain(operators: list[Operator]) -> Network:
    nodes: list[Node] = []
    for index, operator in enumerate(operators):
        source = nodes[-1].outputs[0] if nodes else "in"
        inputs = (source,) * (2 if operator.has_residual else 1)
        shape = (1, *operator.output_shape)
        nodes.append(Node(f"n{index}", "x", operator.type, inputs, (f"t{index}",), (shape,), operator.flops, operator))
    return Network("chain", tuple(nodes), {"in": (1, 1, 1)}, (nodes[-1].outputs[0],))


def _since(began: float) -> str:
    return f"{time.perf_counter() - began:.2f}"

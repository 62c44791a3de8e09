from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.predictors.package import build_package
from splitfleet.predictors.planner import plan_layers
from splitfleet.predictors.split_table import Measured, SplitTable
from splitfleet.predictors.train import ClassModels, train_class

from . import synthetic


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ClassModels:
    """A small training on synthetic traces."""
    traces = synthetic.traces(tmp_path_factory.mktemp("campaign"))
    return train_class(traces, synthetic.PROFILE, seed=7)


@pytest.fixture(scope="session")
def table(trained: ClassModels) -> SplitTable:
    """A split table of a few layers, one of them measured."""
    layers = synthetic.layers(6, seed=11)
    planned = plan_layers(layers, trained.models, synthetic.DEVICE)
    return planned.with_measured({layers[0]: Measured(90.0, 120.0, 150.0, 31, 8, 88.5)})


@pytest.fixture(scope="session")
def package_file(trained: ClassModels, table: SplitTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_package(trained, table, tmp_path_factory.mktemp("package") / "synthetic.zip")

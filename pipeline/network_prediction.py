"""`splitfleet predict DEVICE --model FILE`: the network in a model file on a device's package, whatever its runtime."""

from __future__ import annotations

from pathlib import Path

from splitfleet.kernels.readers import read_network
from splitfleet.predictors.archive import read_manifest
from splitfleet.predictors.litert_network_predict import predict_litert_network
from splitfleet.predictors.litert_package import KIND, open_litert_package
from splitfleet.predictors.network_predict import predict_network
from splitfleet.predictors.network_times import NetworkTimes
from splitfleet.predictors.package import open_package


def predict_model(package: Path, model: Path) -> NetworkTimes:
    """Raises UserError for a package or a model file that cannot be read, or a network without known operators."""
    network = read_network(model)
    if read_manifest(package).get("kind") == KIND:
        return predict_litert_network(open_litert_package(package), network)
    return predict_network(open_package(package), network)

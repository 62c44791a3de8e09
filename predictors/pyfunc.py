"""A predictor package as an MLflow model: operators in, predicted times and splits out.

MLflow calls `_load_pyfunc` with the package's path; the package itself is the model's data, so nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from splitfleet.kernels import parse_operator

from .archive import read_manifest
from .litert_package import KIND as LITERT
from .litert_package import open_litert_package
from .litert_predict import predict_operations
from .litert_train import LitertModels
from .package import Package, open_package


class PackageModel:
    """`predict` takes a DataFrame with a text column `operator`, such as `linear:rows=197,in=768,out=3072`."""

    def __init__(self, package: Package) -> None:
        self.package = package

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """One row an operator: the split, its predicted time, and the whole operator's time by target, in us.

        Raises UserError for a text that is no operator.
        """
        rows = []
        for text in model_input["operator"]:
            operator = parse_operator(text)
            decision, times = self.package.plan(operator), self.package.predict(operator).times_us
            rows.append(
                {
                    "operator": operator.label,
                    "processor": decision.processor,
                    "cut": decision.cut,
                    "threads": decision.threads,
                    "join": decision.join,
                    "predicted_us": decision.predicted_us,
                    "cpu_us": decision.cpu_us,
                    "gpu_us": decision.gpu_us,
                    **{f"{target}_us": time_us for target, time_us in times.items()},
                }
            )
        return pd.DataFrame(rows)


class LitertModel:
    """`predict` takes a DataFrame with a text column `operator` (docs/traces.md): times in us, bounds, out of range."""

    def __init__(self, models: LitertModels) -> None:
        self.models = models

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """One row an operator. Raises UserError for a text that is none."""
        return predict_operations(self.models, list(model_input["operator"]))


def _load_pyfunc(path: str) -> PackageModel | LitertModel:
    file = Path(path)
    if read_manifest(file).get("kind") == LITERT:
        return LitertModel(open_litert_package(file))
    return PackageModel(open_package(file))

"""Adopting a phone under LiteRT: predictors from a few probes and from the models of other phones."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert import LitertGpu

from .litert_train import LitertModels, LitertTraining, litert_sets, litert_training
from .transfer import LEAST_PROBES, MOST_ELDERS, transfer_sets


def adopt_litert(traces: pd.DataFrame, elders: Sequence[LitertModels], seed: int) -> LitertTraining:
    """Transfers to the one device class in `traces`: each group of operators with enough probes that an elder knows.

    The held-out rows and figures are those of folds over the probes. Raises UserError where no group is left.
    """
    sets = litert_sets(traces, LEAST_PROBES)
    fitted = transfer_sets(sets, [elder.predictors for elder in elders], seed)
    if not fitted:
        raise UserError(
            f"adopting needs an elder that predicts one of {', '.join(sets)}; {len(elders)} elders were there"
        )
    return litert_training(traces, {name: sets[name] for name in fitted}, fitted, seed)


def elders_of(point: dict[str, str], device_class: str, models: Sequence[LitertModels]) -> list[LitertModels]:
    """The models of other device classes of the same precision: MOST_ELDERS, those of the same GPU vendor first."""
    vendor = LitertGpu.from_name(point["gpu"]).vendor
    others = [
        one
        for one in models
        if one.device_class != device_class and one.operating_point["precision"] == point["precision"]
    ]
    others.sort(key=lambda one: (LitertGpu.from_name(one.operating_point["gpu"]).vendor != vendor, one.device_class))
    return others[:MOST_ELDERS]

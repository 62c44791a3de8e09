"""Lowering with one kernel family for everything, whatever the rules would choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from splitfleet.kernels import Device, lowering
from splitfleet.kernels.precision import Precision
from splitfleet.kernels.rules import Rules, rules_for
from splitfleet.kernels.tables import Columns


@contextmanager
def only(family: str) -> Iterator[None]:
    """Within it `lower` and its like choose this family; blocks and work-groups stay the device's rules'."""

    def forced(device: Device, precision: Precision) -> Rules:
        rules = rules_for(device, precision)

        def constant(shapes: Columns) -> NDArray[np.object_]:
            return np.full(len(shapes["m"]), family, dtype=object)

        rules.family = constant  # type: ignore[method-assign]
        return rules

    with patch.object(lowering, "rules_for", forced):
        yield

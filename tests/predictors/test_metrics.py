from __future__ import annotations

import numpy as np
import pytest

from splitfleet.predictors.metrics import error_metrics


def test_figures_of_known_errors() -> None:
    found = error_metrics([100.0, 100.0, 100.0, 200.0], [104.0, 90.0, 112.0, 100.0])
    assert found["n"] == 4
    assert found["mape"] == pytest.approx((4 + 10 + 12 + 50) / 4)
    assert found["median_ape"] == pytest.approx(11)
    assert (found["within_5"], found["within_10"], found["within_15"]) == (25.0, 50.0, 75.0)
    assert found["rmspe"] == pytest.approx(np.sqrt((16 + 100 + 144 + 2500) / 4))


@pytest.mark.parametrize(
    ("measured", "predicted"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([float("nan")], [1.0])]
)
def test_nothing_to_compare_is_refused(measured: list[float], predicted: list[float]) -> None:
    with pytest.raises(ValueError, match=r"cannot compare|positive"):
        error_metrics(measured, predicted)

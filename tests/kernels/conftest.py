from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from splitfleet.kernels.runner import Runner


@pytest.fixture(scope="session")
def runner() -> Runner:
    """PoCL from its wheel, whatever else the machine has."""
    import pyopencl as cl

    from splitfleet.kernels.runner import Runner

    platform = next(p for p in cl.get_platforms() if p.name == "Portable Computing Language")
    return Runner(platform.get_devices()[0])

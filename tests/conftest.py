from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from splitfleet.pipeline.pocl import pocl_environment

from .infra.phones import PHONE, POCL_CACHE, RunningPhone, running_phone

if TYPE_CHECKING:
    from splitfleet.kernels.runner import Runner

StartPhone = Callable[..., RunningPhone]

# Who starts the tests in the background starts them deaf to Ctrl-C, and so what they start, which some interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of the machine than of the code, and how many are passed over is chance.
_CHANCE = [HealthCheck.too_slow, HealthCheck.filter_too_much]
settings.register_profile("splitfleet", deadline=None, suppress_health_check=_CHANCE)
settings.load_profile("splitfleet")


@pytest.fixture
def start_phone(tmp_path: Path) -> Iterator[StartPhone]:
    """Starts virtual phones: `start_phone(description=..., name=...)`. All end with the test.

    The same name again, after the first was ended, is the same phone: its files and remembered keys are there.
    """
    with ExitStack() as stack:

        def start(description: str = PHONE, name: str = "phone") -> RunningPhone:
            return stack.enter_context(running_phone(tmp_path / name, description))

        yield start


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """PoCL from its wheel in this process, whatever else the machine has or lacks, a linker among it."""
    environment = pocl_environment(POCL_CACHE)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PATH", "POCL_CACHE_DIR", "POCL_MAX_PTHREAD_COUNT", "POCL_AFFINITY"):
            patch.setenv(name, environment[name])
        import pyopencl as cl

        from splitfleet.kernels.runner import Runner

        platform = next(p for p in cl.get_platforms() if p.name == "Portable Computing Language")
        yield Runner(platform.get_devices()[0])

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import pytest

from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.pace import Pace
from splitfleet.pipeline.transport import Deadlines

from ..infra.phones import PHONE, running_phone
from ..pipeline.conftest import agent, home, one_agent, ray, settings  # noqa: F401  # fixtures
from .lab import Lab, open_lab
from .record import Outcome, table

RUNS = int(os.environ.get("SPLITFLEET_FAULT_RUNS", "1"))
FIRST_SEED = int(os.environ.get("SPLITFLEET_FAULT_SEED", "1"))
_OUTCOME = "outcome"
_OUTCOMES: list[Outcome] = []

Record = Callable[[Outcome], None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that takes a seed runs so many times, with other seeds. The seed is in the test's name."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS), ids=lambda seed: f"seed{seed}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _OUTCOMES:
        last = FIRST_SEED + RUNS - 1
        terminalreporter.section(f"faults, seeds {FIRST_SEED} to {last}")
        for line in table(_OUTCOMES):
            terminalreporter.line(line)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collects outcomes, also those of tests that ran in other processes (pytest -n)."""
    if report.when == "teardown":
        _OUTCOMES.extend(Outcome(**value) for name, value in report.user_properties if name == _OUTCOME)


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    """Puts an outcome into the table, and fails the test where a job is lost or counted twice."""

    def record(outcome: Outcome) -> None:
        record_property(_OUTCOME, asdict(outcome))
        assert (outcome.lost, outcome.duplicated) == (0, 0), outcome

    return record


@pytest.fixture(scope="session")
def fault_settings(settings: FleetSettings) -> FleetSettings:  # noqa: F811
    """Short deadlines, so that a stalled link and a hung agent are noticed within seconds."""
    return replace(
        settings,
        pace=Pace(poll_s=0.1, retry_s=0.2, idle_s=0.5, blocked_s=0.5, stall_s=30.0),
        deadlines=Deadlines(connect_s=5.0, authorize_s=5.0, transfer_s=3.0),
    )


@pytest.fixture(scope="module")
def lab(
    ray: None,  # noqa: F811
    fault_settings: FleetSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lab]:
    """One phone and one fleet for the tests of a module: each run has jobs of its own."""
    folder = tmp_path_factory.mktemp("lab")
    with (
        running_phone(folder / "phone", PHONE + "adjustable_clock = true\n") as phone,
        open_lab(phone, folder / "campaign", fault_settings) as lab,
    ):
        yield lab

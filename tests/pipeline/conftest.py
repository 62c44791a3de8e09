from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import build_agent
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.pace import Pace
from splitfleet.pipeline.ray_session import ray_session
from splitfleet.pipeline.transport import Deadlines

from ..infra.phones import running_phone
from .main_job import MainJob, run_main_job

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def agent() -> Path:
    """A real agent: the one that the environment names, else one built below build/ and kept there."""
    given = os.environ.get("SPLITFLEET_AGENT_X86_64")
    return Path(given) if given else build_agent(build_root=REPOSITORY / "build" / "agents")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ADB keys and ledgers are kept in a folder of the tests."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITFLEET_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def one_agent(agent: Path, home: Path) -> Iterator[None]:
    """All phones get the same agent, whatever their instruction set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITFLEET_AGENT_X86_64", str(agent))
        yield


@pytest.fixture(scope="session")
def main_job(one_agent: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MainJob]:
    """The main job on a virtual phone, which stays there."""
    folder = tmp_path_factory.mktemp("main-job")
    with running_phone(folder / "phone") as phone:
        yield run_main_job(folder, phone.address)


@pytest.fixture(scope="session")
def ray(one_agent: None) -> Iterator[None]:
    """One Ray for all tests that need it: starting it takes seconds. Its processes inherit the environment."""
    with ray_session():
        yield


@pytest.fixture(scope="session")
def settings() -> FleetSettings:
    """Short times: the phones are on this host."""
    return FleetSettings(
        pace=Pace(poll_s=0.1, retry_s=0.2, idle_s=1.0, blocked_s=0.5, stall_s=60.0),
        deadlines=Deadlines(connect_s=5.0, authorize_s=5.0, transfer_s=20.0),
        settle_s=3.0,
        wait_for_phone_s=60.0,
    )

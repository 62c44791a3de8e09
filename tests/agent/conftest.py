from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import build_agent
from splitfleet.pipeline.pocl import pocl_environment

from ..infra.phones import POCL_CACHE
from .driver import Agent

# Beside the other things that are built, so that a second run of the tests need not build again.
BUILDS = Path(__file__).parents[2] / "build" / "agents"


@pytest.fixture(scope="session")
def program() -> Path:
    return build_agent(build_root=BUILDS)


@pytest.fixture(scope="session")
def kernel_cache() -> Path:
    POCL_CACHE.mkdir(parents=True, exist_ok=True)
    return POCL_CACHE


@pytest.fixture
def agent(program: Path, kernel_cache: Path, tmp_path: Path) -> Agent:
    """On PoCL, whose worker is CPU 0; CPU halves take CPU 1."""
    return Agent(program, tmp_path, pocl_environment(kernel_cache))


@pytest.fixture
def agent_without_opencl(program: Path, tmp_path: Path) -> Agent:
    return Agent(program, tmp_path, {"SPLITFLEET_OPENCL": str(tmp_path / "libOpenCL.so")})

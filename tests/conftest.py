from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .infra.phones import PHONE, RunningPhone, running_phone

StartPhone = Callable[..., RunningPhone]


@pytest.fixture
def start_phone(tmp_path: Path) -> Iterator[StartPhone]:
    """Starts virtual phones: `start_phone(description=..., name=...)`. All end with the test.

    The same name again, after the first was ended, is the same phone: its files and remembered keys are there.
    """
    with ExitStack() as stack:

        def start(description: str = PHONE, name: str = "phone") -> RunningPhone:
            return stack.enter_context(running_phone(tmp_path / name, description))

        yield start

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from splitfleet.pipeline.directory import Directory
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.messages import PhoneArrived, PhoneLeft
from splitfleet.pipeline.phone_state import PhoneState

from .profiles import profile


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with Ledger(tmp_path) as ledger:
        yield Directory(ledger)


def arrived(address: str, session: int = 1) -> PhoneArrived:
    return PhoneArrived(address, session, "one-serial", profile(), ())


def test_a_phone_that_moved_to_another_host_is_taken_over_once_the_first_lets_go(directory: Directory) -> None:
    label = directory.take(arrived("a/usb"))
    assert label is not None
    assert directory.take(arrived("b/usb", 7)) is None
    assert directory.statuses["b/usb"].state is PhoneState.QUARANTINED
    assert "the phone at a/usb" in directory.statuses["b/usb"].reason
    assert directory.moved() == []
    assert directory.take(PhoneLeft("a/usb", "unplugged")) == label
    (again,) = directory.moved()
    assert directory.take(again) == label
    assert (directory.present[label].address, directory.present[label].session) == ("b/usb", 7)
    assert directory.moved() == []


def test_a_twin_that_left_is_forgotten(directory: Directory) -> None:
    directory.take(arrived("a/usb"))
    directory.take(arrived("b/usb"))
    directory.take(PhoneLeft("b/usb", "unplugged"))
    directory.take(PhoneLeft("a/usb", "unplugged"))
    assert directory.moved() == []
    assert directory.present == {}

"""What one campaign checked, the next one of the same class need not check again."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.join_record import joins_before, note_joins_before, remember
from splitfleet.pipeline.ledger import Ledger
from splitfleet.predictors.checked_joins import CheckedJoins


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITFLEET_HOME", str(tmp_path / "home"))


def test_other_campaigns_joins_are_added_up(tmp_path: Path) -> None:
    remember("phone-1", "aaaa", "first", CheckedJoins(1_000))
    remember("phone-1", "bbbb", "second", CheckedJoins(10, 1))
    remember("phone-2", "aaaa", "first", CheckedJoins(5))
    with Ledger(tmp_path / "run") as ledger:
        assert note_joins_before(ledger, "phone-1") == CheckedJoins(1_010, 1)
        assert note_joins_before(ledger, "phone-3") == CheckedJoins()


def test_a_campaign_does_not_count_its_own_joins_twice(tmp_path: Path) -> None:
    with Ledger(tmp_path / "run") as ledger:
        for joins in (400, 500):
            remember("phone-1", ledger.owner, "this", CheckedJoins(joins))
        assert note_joins_before(ledger, "phone-1") == CheckedJoins()
    with Ledger(tmp_path / "other") as other:
        assert note_joins_before(other, "phone-1") == CheckedJoins(500)


def test_what_a_campaign_found_at_first_stays_for_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "run") as ledger:
        assert note_joins_before(ledger, "phone-1") == CheckedJoins()
        remember("phone-1", "aaaa", "meanwhile", CheckedJoins(1_000))
        assert note_joins_before(ledger, "phone-1") == CheckedJoins()
    with Ledger(tmp_path / "run", read_only=True) as ledger:
        assert joins_before(ledger, "phone-1") == CheckedJoins()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    remember("phone-1", "aaaa", "first", CheckedJoins(1_000))
    [record] = (tmp_path / "home").rglob("aaaa.json")
    record.write_text("{}")
    with Ledger(tmp_path / "run") as ledger, pytest.raises(UserError, match=r"aaaa\.json: not a record"):
        note_joins_before(ledger, "phone-1")

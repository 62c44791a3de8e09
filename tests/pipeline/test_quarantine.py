from __future__ import annotations

from splitfleet.pipeline.quarantine import TroubleRecord


def troubled(times: int) -> TroubleRecord:
    record = TroubleRecord(600.0)
    for number in range(times):
        record.note(f"trouble {number}", float(number), "boot 1")
    return record


def test_three_troubles_in_a_row() -> None:
    assert troubled(2).sentence(2.0, "boot 1") == ""
    advice = "restart the phone to try it at once, else it is tried again in 10 min"
    assert troubled(3).sentence(2.0, "boot 1") == f"3 troubles in a row, the last: trouble 2; {advice}"


def test_a_batch_that_ends_well_forgives_all() -> None:
    record = troubled(2)
    record.forgive()
    record.note("another", 5.0, "")
    assert record.sentence(6.0, "") == ""


def test_after_its_rest_it_is_tried_and_one_more_trouble_suffices() -> None:
    record = troubled(3)
    assert record.sentence(601.0, "boot 1")
    assert record.sentence(602.0, "boot 1") == ""
    record.note("again", 610.0, "boot 1")
    assert "the last: again" in record.sentence(611.0, "boot 1")


def test_a_phone_that_was_restarted_is_tried_at_once() -> None:
    record = troubled(3)
    assert record.sentence(3.0, ""), "nobody could ask it for its boot id"
    assert record.sentence(3.0, "boot 2") == ""


def test_the_driver_may_confine_it_for_reasons_of_its_own() -> None:
    record = TroubleRecord(60.0)
    record.confine("it drifts", 0.0, "boot 1")
    assert record.sentence(1.0, "boot 1").startswith("it drifts; restart the phone")
    assert record.sentence(61.0, "boot 1") == ""

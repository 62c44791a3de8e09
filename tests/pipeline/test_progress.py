from __future__ import annotations

import io

import pytest
from rich.console import Console

from splitfleet.pipeline.phone_state import PhoneState, PhoneStatus
from splitfleet.pipeline.progress import LiveProgress, PhoneLine, PlainProgress, progress_on

STATUS = PhoneStatus("127.0.0.1:6010", PhoneState.LEASED, temperature_c=31.4)
LINE = PhoneLine("virtual-a-1", STATUS, 12, 340, 2, 61.4, 322.0, "job 1a2b: noisy, is tried again: [0 of 9]")


def test_a_terminal_shows_one_line_a_phone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # to rich, a dumb terminal has 80 columns whatever is asked
    console = Console(file=io.StringIO(), force_terminal=True, width=140, legacy_windows=False)
    progress = progress_on(console)
    assert isinstance(progress, LiveProgress)
    with progress:
        progress.show([LINE])
        progress.note("a word [that] stays")
    output = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (
        "virtual-a-1",
        "measuring",
        "12/340 (2 rejected)",
        "61/min",
        "31 C",
        "5 min 22 s",
        "[0 of 9]",
        "[that]",
    ):
        assert text in output


def test_a_file_gets_a_line_when_a_state_changes() -> None:
    console = Console(file=io.StringIO(), width=200)
    progress = progress_on(console)
    assert isinstance(progress, PlainProgress)
    ready = PhoneLine("virtual-a-1", PhoneStatus("127.0.0.1:6010", PhoneState.READY), 12, 340, 0, 0.0, None, "")
    gone = PhoneLine("virtual-a-1", PhoneStatus("127.0.0.1:6010", PhoneState.OFFLINE), 12, 340, 0, 0.0, None, "no link")
    with progress:
        for line in (LINE, LINE, ready, gone, gone):
            progress.show([line])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2, "between two batches a phone is ready for a moment: no news"
    assert lines[1].endswith("offline  12/340  no link")

"""What a person sees while a campaign runs: one live line a phone, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .phone_state import PhoneState, PhoneStatus

_PLAIN_EVERY_S = 15.0
_COLOURS = {
    PhoneState.LEASED: "green",
    PhoneState.READY: "cyan",
    PhoneState.COOLING: "yellow",
    PhoneState.PREPARING: "cyan",
    PhoneState.CONNECTING: "cyan",
}
_WORDS = {PhoneState.LEASED: "measuring"}


@dataclass(frozen=True)
class PhoneLine:
    """One phone as shown. `done` and `total` count the jobs of its device class; `rate` is this phone's, a minute."""

    label: str
    status: PhoneStatus
    done: int
    total: int
    rejected: int
    rate_per_minute: float
    left_s: float | None
    trouble: str


def status_line(status: PhoneStatus) -> PhoneLine:
    """A phone that is only looked at."""
    return PhoneLine(status.address, status, 0, 0, 0, 0.0, None, status.reason)


class Progress(Protocol):
    """Where a running fleet is shown."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, lines: list[PhoneLine]) -> None:
        """Shows the phones as they are now; called about once a second."""

    def note(self, text: str) -> None:
        """Says something that stays."""


def progress_on(console: Console) -> Progress:
    """Live lines on a terminal, else plain ones."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class LiveProgress:
    """A table that is drawn over itself."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, lines: list[PhoneLine]) -> None:
        self._live.update(_table(lines), refresh=True)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


class PlainProgress:
    """A line a phone whenever its state changes, and now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, tuple[PhoneState, float]] = {}

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, lines: list[PhoneLine]) -> None:
        now = time.monotonic()
        for line in lines:
            state = _settled(line.status.state)
            before, shown_at = self._shown.get(line.status.address, (None, 0.0))
            if state is not before or now - shown_at > _PLAIN_EVERY_S:
                self._shown[line.status.address] = (state, now)
                self.note("  ".join(cell for cell in _cells(line) if cell))

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _settled(state: PhoneState) -> PhoneState:
    """Between two batches a phone is ready for a moment: no news."""
    return PhoneState.LEASED if state is PhoneState.READY else state


def _table(lines: list[PhoneLine]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("phone", "state"):
        table.add_column(title, no_wrap=True)
    for title in ("done", "rate", "temp", "left"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("last trouble", overflow="ellipsis", no_wrap=True)
    for line in lines:
        label, state, *rest = _cells(line)
        table.add_row(Text(label), Text(state, style=_COLOURS.get(line.status.state, "red")), *map(Text, rest))
    return table


def _cells(line: PhoneLine) -> list[str]:
    status = line.status
    rejected = f" ({line.rejected} rejected)" if line.rejected else ""
    return [
        line.label,
        _WORDS.get(status.state, status.state.value),
        f"{line.done}/{line.total}{rejected}" if line.total else "",
        f"{line.rate_per_minute:.0f}/min" if line.rate_per_minute else "",
        f"{status.temperature_c:.0f} C" if status.temperature_c is not None else "",
        duration(line.left_s),
        line.trouble,
    ]


def duration(seconds: float | None) -> str:
    """In words; nothing for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_rest = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_rest:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

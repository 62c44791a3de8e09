"""When a phone is taken out because its batches break off again and again, and how it comes back. No I/O, no clock."""

from __future__ import annotations

from splitfleet.kernels.errors import DeviceError

MAX_TROUBLES = 3


class Quarantined(DeviceError):
    """The phone is left out for a while, after repeated trouble."""


class TroubleRecord:
    """One phone's troubles in a row; a batch that ends well forgives all.

    At the third the phone is quarantined for `rest_s`. Then it gets one batch on trial: one more trouble, and it rests
    again. A phone that was restarted meanwhile is tried at once: that is what most broken drivers need.
    """

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self._count = 0
        self._reason = ""
        self._until_s: float | None = None
        self._boot_id = ""

    def forgive(self) -> None:
        """A batch has ended well."""
        self._count, self._until_s = 0, None

    def note(self, trouble: str, at_s: float, boot_id: str) -> None:
        """A batch broke off, or the link delivered nonsense. `boot_id`: the phone's, empty where it is not known."""
        self._count += 1
        if self._count >= MAX_TROUBLES:
            self.confine(f"{self._count} troubles in a row, the last: {trouble}", at_s, boot_id)

    def confine(self, reason: str, at_s: float, boot_id: str) -> None:
        """Puts the phone into quarantine, whatever its record."""
        self._reason, self._until_s, self._boot_id = reason, at_s + self._rest_s, boot_id

    def sentence(self, at_s: float, boot_id: str) -> str:
        """Why the phone is in quarantine now, or ""."""
        if self._until_s is None:
            return ""
        if at_s >= self._until_s or (boot_id and self._boot_id and boot_id != self._boot_id):
            self._count, self._until_s = MAX_TROUBLES - 1, None
            return ""
        minutes = (self._until_s - at_s) / 60
        return f"{self._reason}; restart the phone to try it at once, else it is tried again in {minutes:.0f} min"

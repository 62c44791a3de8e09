"""The phones that are there: what each does, and how many of them work or are held up."""

from __future__ import annotations

from dataclasses import dataclass

from .evidence import PhoneRecord


@dataclass(slots=True)
class PresentPhone:
    """A phone that is there. `ahead` is the batch that it has been given to follow `batch`. It rests until
    `rest_until_s`."""

    device_class: str
    record: PhoneRecord
    batch: str | None = None
    ahead: str | None = None
    is_fit: bool = True
    rest_until_s: float | None = None

    @property
    def is_available(self) -> bool:
        return self.batch is None and not self.is_held_up

    @property
    def is_held_up(self) -> bool:
        """It will take work by itself when it is well again."""
        return not self.is_fit or self.rest_until_s is not None


class PresentPhones:
    """Phones by label. Changes go through here, so that nobody has to count."""

    def __init__(self) -> None:
        self._phones: dict[str, PresentPhone] = {}
        self._working = 0
        self._held_up = 0

    @property
    def is_busy(self) -> bool:
        """Whether one has a batch, or is held up."""
        return self._working > 0 or self._held_up > 0

    def get(self, name: str) -> PresentPhone | None:
        return self._phones.get(name)

    def __getitem__(self, name: str) -> PresentPhone:
        return self._phones[name]

    def add(self, name: str, phone: PresentPhone) -> None:
        self._phones[name] = phone

    def remove(self, name: str) -> PresentPhone:
        phone = self._phones[name]
        self._set_batch(phone, None)
        self.hold_up(phone, is_fit=True, rest_until_s=None)
        return self._phones.pop(name)

    def give(self, phone: PresentPhone, batch: str) -> None:
        """The phone has this batch from now on, or after the one that it has."""
        if phone.batch is None:
            self._set_batch(phone, batch)
        else:
            phone.ahead = batch

    def take(self, phone: PresentPhone, batch: str) -> None:
        """The phone does not have this batch any more; the one ahead is its present one then."""
        if phone.batch == batch:
            self._set_batch(phone, phone.ahead)
            phone.ahead = None
        elif phone.ahead == batch:
            phone.ahead = None

    def _set_batch(self, phone: PresentPhone, batch: str | None) -> None:
        self._working += (batch is not None) - (phone.batch is not None)
        phone.batch = batch

    def hold_up(self, phone: PresentPhone, *, is_fit: bool, rest_until_s: float | None) -> None:
        """Says whether something keeps the phone from taking work."""
        self._held_up -= phone.is_held_up
        phone.is_fit, phone.rest_until_s = is_fit, rest_until_s
        self._held_up += phone.is_held_up

"""The phones of a running fleet as the driver knows them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from .ledger import Ledger
from .messages import PhoneArrived, PhoneLeft, PhoneMessage, StatusChanged
from .phone_state import PhoneState, PhoneStatus
from .profile import DeviceProfile, slug


@dataclass
class PresentPhone:
    """A phone that can take commands. `batches` are the campaign's that lie on it."""

    label: str
    address: str
    session: int
    serial: str
    profile: DeviceProfile
    batches: set[str] = field(default_factory=set)


class Directory:
    """Statuses by address, and the present phones by label. Labels and profiles are kept in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.statuses: dict[str, PhoneStatus] = {}
        self.present: dict[str, PresentPhone] = {}
        self._labels: dict[str, str] = {}  # of those present, by address
        self._twins: dict[str, PhoneArrived] = {}  # by address: arrivals of phones that are present elsewhere

    def take(self, message: PhoneMessage) -> str | None:
        """Takes a message in; for an arrival or a leave, returns the phone's label. See also `moved`."""
        match message:
            case StatusChanged(status=status):
                self.statuses[status.address] = status
            case PhoneArrived():
                return self._arrive(message)
            case PhoneLeft(address=address):
                self._twins.pop(address, None)
                label = self.label_at(address)
                if label:
                    del self.present[label], self._labels[address]
                return label
        return None

    def moved(self) -> list[PhoneArrived]:
        """Arrivals to be taken again: the phone had seemed to be at another address, and has left that one now."""
        if not self._twins:
            return []
        here = {phone.serial for phone in self.present.values()}
        return [twin for twin in self._twins.values() if twin.serial not in here]

    def label_at(self, address: str) -> str | None:
        return self._labels.get(address)

    def absent(self) -> list[PhoneStatus]:
        here = {phone.address for phone in self.present.values()}
        return [status for address, status in self.statuses.items() if address not in here]

    def troubles(self) -> list[str]:
        """One line for each phone that is not there."""
        return [f"{s.address}: {s.state.value}" + (f": {s.reason}" if s.reason else "") for s in self.absent()]

    def _arrive(self, message: PhoneArrived) -> str | None:
        profile = message.profile
        label = self._ledger.label_phone(
            message.serial, slug(profile.model), profile.device_class, message.address, profile.model
        )
        twin = self.present.get(label)
        if twin and twin.address != message.address:
            self._twins[message.address] = message
            self.statuses[message.address] = PhoneStatus(
                message.address,
                PhoneState.QUARANTINED,
                f"it has the serial of the phone at {twin.address}: name one phone only once; where they are two, give "
                "one of them a serial of its own, or use them one after the other",
            )
            return None
        self._twins.pop(message.address, None)
        self._ledger.put(f"profile {profile.device_class}", json.dumps(profile.to_json(), sort_keys=True))
        self._labels[message.address] = label
        self.present[label] = PresentPhone(
            label, message.address, message.session, message.serial, profile, set(message.batches)
        )
        return label

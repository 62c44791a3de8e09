"""Whether a device class may be trusted with polling: how many joins were checked, and how many found a stale payload.

That a polled flag is seen only after the results it stands for is promised by no specification that all phones keep.
It is therefore tried, often: a kernel writes a payload and raises the flag, the host sees the flag and looks at every
word of the payload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .split_table import SVM_POLL

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_JOINS = 1_000_000


@dataclass(frozen=True)
class CheckedJoins:
    """So many joins by polling had their payload checked, and `mismatches` of them found it stale."""

    joins: int = 0
    mismatches: int = 0

    def __add__(self, other: CheckedJoins) -> CheckedJoins:
        return CheckedJoins(self.joins + other.joins, self.mismatches + other.mismatches)

    @property
    def allow_polling(self) -> bool:
        return self.joins >= REQUIRED_JOINS and self.mismatches == 0

    @property
    def verdict(self) -> str:
        """Why polling is allowed or refused, in words."""
        if self.mismatches:
            return f"{self.mismatches} of {self.joins} joins found a stale payload"
        if self.joins < REQUIRED_JOINS:
            return f"the payload of {self.joins} joins was checked, {REQUIRED_JOINS} are needed"
        return f"the payload of {self.joins} joins was checked, none was stale"


def checked_joins(traces: pd.DataFrame) -> CheckedJoins:
    """What the `sync` traces of one device class tell. A failed job's mismatches count, its joins do not."""
    polled = traces[(traces["kind"] == "sync") & (traces["join"] == SVM_POLL)]
    joins = polled.loc[polled["status"] == "ok", "checked_joins"].sum()
    return CheckedJoins(int(joins), int(polled["mismatches"].fillna(0).sum()))

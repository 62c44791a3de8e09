"""Split tables: for each operator of a device class, who computes which output channels, and what that takes.

The JSON form is for people; the binary form (`split_table_binary`) has the same content for a runtime. Both are
described in docs/split-table.md, as is what `SplitTable.find` answers for a shape that is not in the table.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from splitfleet.kernels import Operator, Precision
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.precision import as_precision

from .split_entry import (
    JOINS,
    MAX_THREADS,
    PROCESSORS,
    SVM_POLL,
    Join,
    Measured,
    Processor,
    RowRange,
    SplitDecision,
    SplitEntry,
)
from .split_key import OCTAVE
from .split_lookup import POLICIES, DefaultWay, Found, Policy, SplitLookup

SCHEMA_VERSION = 3
__all__ = [
    "JOINS",
    "MAX_THREADS",
    "POLICIES",
    "PROCESSORS",
    "SCHEMA_VERSION",
    "SVM_POLL",
    "DefaultWay",
    "Found",
    "Join",
    "Measured",
    "Policy",
    "Processor",
    "RowRange",
    "SplitDecision",
    "SplitEntry",
    "SplitTable",
    "split_table_text",
]


@dataclass(frozen=True)
class SplitTable:
    """All decisions of a device class, in the order of `operator_key`. Build it with `SplitTable.of`.

    They hold for one CPU backend and one precision of the GPU.
    """

    device_class: str
    backend: str
    entries: tuple[SplitEntry, ...]
    precision: Precision = "fp32"

    @classmethod
    def of(
        cls, device_class: str, backend: str, entries: Iterable[SplitEntry], precision: Precision = "fp32"
    ) -> SplitTable:
        """Sorts the entries. Raises UserError when an operator appears twice, or ranges of one layer overlap."""
        ordered = tuple(sorted(entries, key=lambda entry: entry.key))
        for first, second in itertools.pairwise(ordered):
            same = first.key[:-1] == second.key[:-1]
            if same and (first.key == second.key or (first.rows and second.rows and second.rows.low in first.rows)):
                raise UserError(f"{device_class}: two split decisions for {second.decision.operator.label}")
        return cls(device_class, backend, ordered, precision)

    def find(self, operator: Operator, policy: Policy = "range", max_distance: int = OCTAVE) -> Found | None:
        """How to run this operator; None where the table does not say. Each policy includes those before it.

        `exact`: an entry of this operator. `range`: one of this layer whose range has its rows. `nearest`: of the
        entries of the same type and window (kernel, stride, padding, pool mode) the one at the least distance, if that
        is at most `max_distance`, its cut scaled to the operator's channels; of equally near ones the first. `default`:
        the table's `default`. The distance is in docs/split-table.md.
        """
        return self._lookup.find(operator, policy, max_distance)

    @cached_property
    def _lookup(self) -> SplitLookup:
        return SplitLookup(self.entries)

    @property
    def default(self) -> DefaultWay:
        """What `find` answers where all else fails."""
        return self._lookup.default

    def with_measured(self, measured: dict[Operator, Measured]) -> SplitTable:
        """The same table with these measurements filled in."""
        entries = (replace(e, measured=measured.get(e.decision.operator, e.measured)) for e in self.entries)
        return replace(self, entries=tuple(entries))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "device_class": self.device_class,
            "backend": self.backend,
            "precision": self.precision,
            "entries": [entry.to_json() for entry in self.entries],
        }

    @classmethod
    def from_json(cls, data: Any, where: str = "split table") -> SplitTable:
        """What `to_json` wrote. Raises UserError naming `where` for another schema or damaged content."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA_VERSION:
            found = data.get("schema") if isinstance(data, dict) else None
            raise UserError(
                f"{where}: split table schema {found!r} is not known here; this version reads {SCHEMA_VERSION}"
            )
        try:
            entries = [SplitEntry.from_json(item) for item in data["entries"]]
            return cls.of(data["device_class"], data["backend"], entries, as_precision(data["precision"]))
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise UserError(f"{where}: damaged split table: {error!r}; get the package again") from error


def split_table_text(table: SplitTable) -> str:
    """The JSON form as text: sorted keys, so that the same table gives the same bytes."""
    return json.dumps(table.to_json(), indent=1, sort_keys=True, allow_nan=False) + "\n"

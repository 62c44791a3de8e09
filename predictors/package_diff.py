"""What changed from one package to another of a device class: origin, errors, and the split table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .any_package import AnyPackage
from .champions import Comparison, compare
from .metrics import error_metrics
from .split_entry import SplitDecision, SplitEntry
from .split_table import SplitTable


@dataclass(frozen=True)
class ErrorChange:
    """A target's held-out errors in two packages, each over the shapes of its own; None where one lacks it."""

    target: str
    shapes: tuple[int | None, int | None]
    mape: tuple[float | None, float | None]


@dataclass(frozen=True)
class DecisionChange:
    """An operator whose decision differs; None where a table lacks it. Times in us."""

    operator: str
    decision: tuple[str | None, str | None]
    predicted_us: tuple[float | None, float | None]


@dataclass(frozen=True)
class PackageDiff:
    """`origin` has (first, second) of what differs among class, campaigns, data, seed, versions and conditions.

    `common` compares the held-out errors on the shapes that both have, with the first in the champion's role. `layers`
    counts the operators of the split tables: in both, with the same decision.
    """

    origin: dict[str, tuple[Any, Any]]
    errors: tuple[ErrorChange, ...]
    common: Comparison
    decisions: tuple[DecisionChange, ...]
    layers: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        return {
            "origin": {name: list(pair) for name, pair in self.origin.items()},
            "errors": [
                {"target": one.target, "shapes": list(one.shapes), "mape": list(one.mape)} for one in self.errors
            ],
            "common_shapes": self.common.to_json(),
            "decisions": [
                {"operator": d.operator, "decision": list(d.decision), "predicted_us": list(d.predicted_us)}
                for d in self.decisions
            ],
            "layers_in_both": self.layers[0],
            "layers_with_the_same_decision": self.layers[1],
        }


def diff_packages(first: AnyPackage, second: AnyPackage) -> PackageDiff:
    """Compares two packages, of one device class or of two."""
    decisions, layers = _decisions(first.split_table, second.split_table)
    common = compare(first.held_out, second.held_out)
    return PackageDiff(_origin(first, second), _errors(first, second), common, decisions, layers)


def _origin(first: AnyPackage, second: AnyPackage) -> dict[str, tuple[Any, Any]]:
    sides = [_flat(package) for package in (first, second)]
    names = sorted(sides[0].keys() | sides[1].keys())
    pairs = {name: (sides[0].get(name), sides[1].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _flat(package: AnyPackage) -> dict[str, Any]:
    made = package.manifest["created_from"]
    found: dict[str, Any] = {"device class": package.device_class, "kind": package.kind, "made from": package.source}
    found |= {"seed": made["seed"], "newest trace (us since 1970)": package.newest_trace_us}
    found |= {f"data of {target} (sha256)": one["sha256"][:16] for target, one in made["training"].items()}
    found |= {f"version of {name}": text for name, text in package.manifest["versions"].items()}
    return found | {f"operating point: {name}": value for name, value in package.operating_point.items()}


def _errors(first: AnyPackage, second: AnyPackage) -> tuple[ErrorChange, ...]:
    sides = []
    for package in (first, second):
        groups = package.held_out.groupby("target")
        sides.append({str(t): error_metrics(rows["measured_us"], rows["predicted_us"]) for t, rows in groups})
    found = []
    for target in sorted(sides[0].keys() | sides[1].keys()):
        old, new = sides[0].get(target), sides[1].get(target)
        shapes = (int(old["n"]) if old else None, int(new["n"]) if new else None)
        found.append(ErrorChange(target, shapes, (old["mape"] if old else None, new["mape"] if new else None)))
    return tuple(found)


def _decisions(
    first: SplitTable | None, second: SplitTable | None
) -> tuple[tuple[DecisionChange, ...], tuple[int, int]]:
    sides = [_by_operator(table) for table in (first, second)]
    labels = sorted(sides[0].keys() | sides[1].keys())
    both = [label for label in labels if label in sides[0] and label in sides[1]]
    changed = []
    for label in labels:
        pair = [side.get(label) for side in sides]
        words = [decision.summary if decision else None for decision in pair]
        if words[0] != words[1]:
            times = [decision.predicted_us if decision else None for decision in pair]
            changed.append(DecisionChange(label, (words[0], words[1]), (times[0], times[1])))
    differing = {change.operator for change in changed}
    return tuple(changed), (len(both), sum(label not in differing for label in both))


def _by_operator(table: SplitTable | None) -> dict[str, SplitDecision]:
    entries = () if table is None else table.entries
    return {_name(entry): entry.decision for entry in entries}


def _name(entry: SplitEntry) -> str:
    label = entry.decision.operator.label
    return label if entry.rows is None else f"{label}, for rows {entry.rows.low} to {entry.rows.high}"

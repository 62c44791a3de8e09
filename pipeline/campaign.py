"""The campaign file: what to measure on which phones (docs/campaign-file.md)."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator

from splitfleet.kernels import Precision
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import CUT_MULTIPLE, Operator
from splitfleet.predictors.checked_joins import REQUIRED_JOINS
from splitfleet.predictors.split_table import Join, RowRange

from .conditions import Backend, Conditions
from .layers import LAYER_TYPES, Layer, LinearLayer, operators_of
from .scheduling import Pacing
from .section import Section
from .toml_lines import Path as KeyPath
from .toml_lines import TomlLines
from .validation import explain

_MAX_FILE_BYTES = 4_000_000
COPY_NAME = "campaign.toml"
"""What a campaign file is called in its run's folder."""


class Repeat(Section):
    """How often a job repeats (docs/agent.md, `repeat`)."""

    warmup: int = Field(default=3, ge=0, le=1000)
    min_count: int = Field(default=9, ge=1, le=10_000)
    min_time_us: int = Field(default=20_000, ge=0, le=60_000_000)
    max_count: int = Field(default=200, ge=1, le=10_000)
    max_time_us: int = Field(default=400_000, ge=1, le=60_000_000)
    ci: float = Field(default=0.03, gt=0, lt=1)


_Count = Annotated[int, Field(ge=0, le=100_000)]


class Samples(Section):
    """How many operators of each type are measured, the layers themselves among them; none of a type without layers."""

    linear: _Count = 100
    conv2d: _Count = 100
    depthwise_conv2d: _Count = 100
    pool2d: _Count = 100


Mode = Literal["single", "chain"]
_Transfer = Annotated[int, Field(ge=4096, le=1 << 26, multiple_of=4096)]
TRANSFER_BYTES = tuple(4096 * 4**power for power in range(8))
"""4 KiB to 64 MiB."""


class Measure(Section):
    """What is measured of each operator, and how. `coexec_share`: for so many of the samples, a layer's two halves are
    among them and are also executed at once."""

    samples: Samples = Samples()
    coexec_share: float = Field(default=0.2, ge=0, le=0.5)
    sampling: Literal["random", "adaptive"] = "random"
    threads: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | Literal["all"] = (1,)
    joins: tuple[Join, ...] = ("svm_poll", "event_wait", "finish")
    checked_joins: int = Field(default=REQUIRED_JOINS, ge=0, le=10_000_000)
    backend: Backend = "eigen"
    precision: Precision = "fp32"
    tuned: bool = False
    modes: tuple[Mode, ...] = Field(default=("single",), min_length=1)
    chain_length: int = Field(default=8, ge=2, le=64)
    transfers: tuple[_Transfer, ...] = TRANSFER_BYTES
    repeat: Repeat = Repeat()

    @property
    def conditions(self) -> Conditions:
        """What is asked of every phone, the tuning left aside."""
        return Conditions(self.backend, self.precision)

    @field_validator("threads", "joins", "modes", "transfers", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("modes")
    @classmethod
    def _single(cls, value: tuple[Mode, ...]) -> tuple[Mode, ...]:
        if "single" not in value:
            raise ValueError('predictors learn from single executions: write ["single"] or ["single", "chain"]')
        return value

    @field_validator("threads", mode="before")
    @classmethod
    def _threads(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "all":
            raise ValueError(f'write a list of thread counts, or "all", not {value!r}')
        return value


class Publish(Section):
    """How much of a split table is measured on the phone. It may change between two runs of a campaign.

    `calibrate_layers`: so many layers at most whose split may pay are measured a few times before they are planned.
    `validate_layers`: so many layers are measured again as planned, all-CPU and all-GPU, interleaved.
    `search_layers`: for so many of them, every cut is measured first: all multiples of 4 where these are at most
    `search_cuts`, else so many evenly spaced ones.
    """

    calibrate_layers: int = Field(default=100, ge=0)
    validate_layers: int = Field(default=24, ge=0)
    search_layers: int = Field(default=8, ge=0)
    search_cuts: int = Field(default=64, ge=1, le=10_000)
    search_repetitions: int = Field(default=9, ge=3, le=1000)
    rounds: int = Field(default=31, ge=31, le=1000)


class FleetSection(Section):
    """How the phones are used. It may change between two runs of a campaign.

    `sister_fraction`: this part of the jobs is measured once more, on another phone of the class. `probe_every_s`: a
    probe comes after so much work, in seconds; 0 for none. `drift`: by how much a probe may differ from its base before
    what lies between is measured again. `batch_s`: how much work a phone is given at once. `grace_s`: how long a phone
    that went away keeps its jobs while another could take them. `max_celsius`: above it a phone cools first; without it
    Android's own thermal status decides.
    """

    sister_fraction: float = Field(default=0.05, ge=0, le=1)
    probe_every_s: float = Field(default=60.0, ge=0, le=86_400)
    drift: float = Field(default=0.05, ge=0.01, le=1)
    batch_s: float = Field(default=10.0, ge=0.5, le=600)
    grace_s: float = Field(default=60.0, ge=0, le=86_400)
    max_celsius: float | None = Field(default=None, gt=0, le=150)

    @property
    def pacing(self) -> Pacing:
        """The same for the scheduler."""
        return Pacing(**self.model_dump())


class Phones(Section):
    """Where the phones are. They may change between two runs of a campaign."""

    tcp: tuple[str, ...] = ()
    usb: bool = False
    local: bool = False

    @field_validator("tcp", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("tcp")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            host, colon, port = address.rpartition(":")
            if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
                raise ValueError(f"{address!r} is no address; write HOST:PORT, as in 127.0.0.1:6010")
        return value


def phones_at(addresses: Sequence[str]) -> Phones:
    """The phones at these HOST:PORT addresses. Raises UserError for one that is no address."""
    try:
        return Phones(tcp=tuple(addresses))
    except ValidationError as error:
        raise UserError("; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())) from None


class _Head(Section):
    name: str
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    phones: Phones = Phones()
    fleet: FleetSection = FleetSection()
    measure: Measure = Measure()
    publish: Publish = Publish()
    layers: Any = None  # checked one by one, with the line of each

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
            raise ValueError("a name has 1 to 64 letters, digits, dots, dashes or underscores")
        return value


@dataclass(frozen=True)
class Campaign:
    """A campaign file, read and checked. `sources` are the files it came from, relative to its folder."""

    name: str
    seed: int
    phones: Phones
    fleet: FleetSection
    measure: Measure
    publish: Publish
    layers: tuple[Layer, ...]
    sources: dict[str, str]

    @property
    def id(self) -> str:
        """A hash of what is measured; [phones], [fleet] and [publish] are no part of it."""
        measure = self.measure.model_dump(mode="json")
        if self.measure.sampling == "random":
            del measure["sampling"]  # campaigns of before it could be chosen keep their hash
        content = {
            "name": self.name,
            "seed": self.seed,
            "measure": measure,
            "layers": [layer.model_dump(mode="json") for layer in self.layers],
        }
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def load_campaign(path: Path) -> Campaign:
    """Reads and checks a campaign file and the layer files that it includes.

    Raises UserError with file and line, what is wrong, and what to write instead.
    """
    text = _read(path, "a campaign file, as in examples/")
    data, lines = _parse(path, text)
    try:
        head = _Head.model_validate(data)
    except ValidationError as error:
        raise UserError(explain(error, path, lines, _Head)) from None
    sources = {path.name: text}
    layers = _read_layers(path, data.get("layers"), lines, sources, include_from=path.parent)
    _check_ranges(path, layers)
    return Campaign(head.name, head.seed, head.phones, head.fleet, head.measure, head.publish, layers, sources)


def _read_layers(
    path: Path, raw: Any, lines: TomlLines, sources: dict[str, str], include_from: Path | None
) -> tuple[Layer, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(item, dict) for item in raw):
        raise UserError(f"{path}:{lines.line_of(('layers',))}: no layers; add one or more [[layers]] tables")
    layers: list[Layer] = []
    for index, item in enumerate(raw):
        where = ("layers", index)
        if "include" in item:
            if include_from is None:
                raise UserError(f"{path}:{lines.line_of((*where, 'include'))}: an included file cannot include another")
            layers += _include(path, item, lines, where, sources, include_from)
        else:
            layers.append(_layer(path, item, lines, where))
    return tuple(layers)


def _check_ranges(path: Path, layers: Iterable[Layer]) -> None:
    """A split table has one decision for each number of rows of a linear layer."""
    known: dict[Operator, list[tuple[str, RowRange]]] = {}
    for layer in layers:
        if not isinstance(layer, LinearLayer) or layer.row_range is None:
            continue
        rows = layer.row_range
        same = known.setdefault(replace(layer.operator, rows=1), [])
        for name, other in same:
            if other != rows and rows.low <= other.high and other.low <= rows.high:
                raise UserError(
                    f"{path}: {name!r} and {layer.name!r} are the same linear layer with rows {other.low} to "
                    f"{other.high} and {rows.low} to {rows.high}, which overlap; give both rows = "
                    f"[{min(rows.low, other.low)}, {max(rows.high, other.high)}]"
                )
        same.append((layer.name, rows))


def _layer(path: Path, item: dict[str, Any], lines: TomlLines, where: KeyPath) -> Layer:
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in LAYER_TYPES:
        known = " or ".join(f'"{name}"' for name in LAYER_TYPES)
        raise UserError(f"{path}:{lines.line_of((*where, 'type'))}: a layer needs type = {known}, not {kind!r}")
    cls = LAYER_TYPES[kind]
    try:
        layer = cls.model_validate(item)
        operator = operators_of(layer)[-1]  # none that is measured is larger
    except ValidationError as error:
        raise UserError(explain(error, path, lines, cls, where)) from None
    except UserError as error:
        raise UserError(f"{path}:{lines.line_of(where)}: layer {item.get('name')!r}: {error}") from None
    for cut in layer.cut:
        if cut % CUT_MULTIPLE or not 0 < cut < operator.channels:
            line = lines.line_of((*where, "cut"))
            raise UserError(
                f"{path}:{line}: layer {layer.name!r}: cut {cut} must be a multiple of {CUT_MULTIPLE} between 0 and "
                f"{operator.channels}, the layer's output channels; the nearest is {_nearest_cut(cut, operator)}"
            )
    return layer


def _nearest_cut(cut: int, operator: Operator) -> int | str:
    last = (operator.channels - 1) // CUT_MULTIPLE * CUT_MULTIPLE
    return min(max(round(cut / CUT_MULTIPLE) * CUT_MULTIPLE, CUT_MULTIPLE), last) or "none: the layer is too small"


def _include(
    path: Path, item: dict[str, Any], lines: TomlLines, where: KeyPath, sources: dict[str, str], folder: Path
) -> tuple[Layer, ...]:
    line = lines.line_of((*where, "include"))
    name = item["include"]
    if len(item) > 1:
        others = ", ".join(sorted(item.keys() - {"include"}))
        raise UserError(f"{path}:{line}: a table with include takes no other key; remove {others}")
    if not isinstance(name, str) or not name.endswith(".toml"):
        raise UserError(f"{path}:{line}: include must name a .toml file of layers, not {name!r}")
    # Its copy goes to the same place in the run's folder, so the way there counts as well as where it ends.
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{path}:{line}: {name!r} must be a path below the campaign file's folder, without ..")
    if Path(name) == Path(COPY_NAME):
        raise UserError(f"{path}:{line}: {name} is the name of the copy of {path} itself in its run; rename it")
    included = folder / name
    if not included.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path}:{line}: {name} lies outside the campaign file's folder; put it beside {path.name}")
    if not included.is_file():
        raise UserError(f"{path}:{line}: there is no file {included}; paths are relative to the campaign file")
    text = _read(included, "a file of [[layers]]")
    data, included_lines = _parse(included, text)
    if unknown := sorted(data.keys() - {"layers"}):
        number = included_lines.line_of((unknown[0],))
        raise UserError(f"{included}:{number}: an included file holds [[layers]] only; remove {unknown[0]!r}")
    sources[str(Path(name))] = text
    layers = _read_layers(included, data.get("layers"), included_lines, sources, include_from=None)
    return tuple(layer.model_copy(update={"network": layer.network or included.stem}) for layer in layers)


def _read(path: Path, expected: str) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UserError(f"{path}: larger than {_MAX_FILE_BYTES} bytes; this is not {expected}")
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error}); give {expected}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give {expected}") from None


def _parse(path: Path, text: str) -> tuple[dict[str, Any], TomlLines]:
    try:
        return tomllib.loads(text), TomlLines(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = place.group(1) if place else len(text.splitlines())
        raise UserError(f"{path}:{line}: not valid TOML: {error}") from None

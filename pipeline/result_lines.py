"""The lines of a result file (docs/agent.md), which a phone wrote and which are therefore not trusted.

Length, nesting, types, ranges and counts are bounded here, numbers are finite, texts printable, and what is unknown is
left out. Whatever a phone says, nothing but BadLine is raised.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

MAX_LINE_BYTES = 32 << 20
"""16 variants of 10,000 rounds with six times of up to 20 digits: the longest line that an agent can owe."""

JOB_ID = r"^[A-Za-z0-9._:-]{1,200}$"
_MAX_SAMPLES = 10_000  # docs/agent.md, "What a job may ask": max_count, rounds
_EVENTS = ("queued_ns", "submit_ns", "start_ns", "end_ns")


class BadLine(ValueError):
    """A line that no agent of ours writes; the text says what is wrong with it."""


def printable(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


Text = Annotated[str, Field(max_length=4000), AfterValidator(printable)]
Word = Annotated[str, Field(max_length=200), AfterValidator(printable)]
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]
_Celsius = Annotated[float, Field(gt=-274, lt=1000)]
_Ns = Annotated[list[_Count], Field(max_length=_MAX_SAMPLES)]
_Error = Annotated[float, Field(ge=0)]


class Reported(BaseModel):
    """What a phone says; what is not described here is left out."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class _Samples(Reported):
    queued_ns: _Ns = []
    submit_ns: _Ns = []
    start_ns: _Ns = []
    end_ns: _Ns = []
    wall_ns: Annotated[_Ns, Field(min_length=1)]
    cpu_ns: _Ns = []

    @model_validator(mode="after")
    def _fit_together(self) -> _Samples:
        lists = [getattr(self, name) for name in self.model_fields_set]
        if len({len(each) for each in lists}) > 1:
            raise ValueError("the lists of samples differ in length")
        events = [getattr(self, name) for name in _EVENTS if name in self.model_fields_set]
        if any(list(times) != sorted(times) for times in zip(*events, strict=True)):
            raise ValueError("times of events are out of order")
        return self


class _Variant(Reported):
    name: Word
    max_relative_error: _Error | None = None
    warmup: _Count = 0
    samples: _Samples


_NodeNs = Annotated[list[_Count | None], Field(max_length=4096)]  # nodes of a network, docs/agent.md


class _Nodes(Reported):
    name: Word
    cpu_ns: _NodeNs
    gpu_ns: _NodeNs


class _Rejected(Reported):
    context_switch: _Count = 0
    event_order: _Count = 0


class _Schema(Reported):
    version: Annotated[Literal[1, 2], Field(alias="schema")]


class _Result(_Schema):
    type: Literal["result"]
    id: Annotated[str, Field(pattern=JOB_ID)]
    kind: Word | None = None
    status: Literal[
        "ok", "build_failed", "out_of_resources", "wrong_result", "unsupported", "timeout", "invalid_job", "noisy",
        "crashed",
    ]  # fmt: skip
    error: Text | None = None
    started_unix_us: _Count | None = None
    elapsed_us: _Count | None = None
    build_us: _Count | None = None
    cached: bool | None = None
    max_relative_error: _Error | None = None
    mode: Word | None = None
    chain_length: _Count | None = None
    backend: Word | None = None
    operation: Word | None = None
    bytes: _Count | None = None
    checked_joins: _Count | None = None
    mismatches: _Count | None = None
    warmup: _Count | None = None
    rejected: _Rejected | None = None
    samples: _Samples | None = None
    variants: Annotated[list[_Variant], Field(min_length=1, max_length=16)] | None = None
    nodes: Annotated[list[_Nodes], Field(max_length=16)] | None = None

    @model_validator(mode="after")
    def _measured(self) -> _Result:
        if self.status == "ok" and self.samples is None and self.variants is None:
            raise ValueError("status is ok, and there are no samples")
        return self


class _Agent(_Schema):
    type: Literal["agent"]
    build: Word
    isa: Word | None = None
    compiler: Word | None = None
    backends: Annotated[dict[Word, Word], Field(max_length=16)] = {}
    opencl: Text | None = None
    pid: _Count | None = None


class _Zone(Reported):
    name: Word
    celsius: _Celsius


class _Cpu(Reported):
    id: Annotated[int, Field(ge=0, lt=4096)]
    khz: _Count


class _Battery(Reported):
    percent: Annotated[int, Field(ge=-1, le=1000)] | None = None
    status: Word | None = None
    celsius: _Celsius | None = None


class _Telemetry(_Schema):
    type: Literal["telemetry"]
    when: Literal["start", "end", "hot", "cool", "still_hot"]
    unix_us: _Count | None = None
    zones: Annotated[list[_Zone], Field(max_length=500)] = []
    thermal_status: Annotated[int, Field(ge=0, le=6)] | None = None
    cpus: Annotated[list[_Cpu], Field(max_length=256)] = []
    gpu_khz: _Count | None = None
    battery: _Battery | None = None
    load_1min: Annotated[float, Field(ge=0, lt=1e6)] | None = None
    free_bytes: _Count | None = None
    waited_us: _Count | None = None


class _End(_Schema):
    type: Literal["end"]
    jobs: _Count | None = None


_LINE: TypeAdapter[_Result | _Agent | _Telemetry | _End] = TypeAdapter(
    Annotated[_Result | _Agent | _Telemetry | _End, Field(discriminator="type")]
)


def parse_line(line: bytes) -> dict[str, Any]:
    """One line as plain data, with the keys that were there and are known. Raises BadLine."""
    if len(line) > MAX_LINE_BYTES:
        raise BadLine(f"it is longer than {MAX_LINE_BYTES >> 20} MiB")
    try:
        return _LINE.validate_json(line).model_dump(by_alias=True, exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise BadLine(printable(f"{where}: {first['msg']}" if where else first["msg"])[:200]) from None


class ResultReader:
    """Takes the lines of one batch. `jobs` are the ids that it may speak of; None where they are not known here."""

    def __init__(self, jobs: frozenset[str] | None = None) -> None:
        self._jobs = jobs
        self._answered: dict[str, int] = {}

    def take(self, line: bytes, offset: int) -> dict[str, Any] | None:
        """The line at this offset of the file as plain data; None for another result of a job that has one: the first
        counts. Raises BadLine."""
        found = parse_line(line)
        if found["type"] != "result":
            return found
        if self._jobs is not None and found["id"] not in self._jobs:
            raise BadLine(f"it speaks of job {found['id'][:40]}, which is not in the batch")
        return found if self._answered.setdefault(found["id"], offset) == offset else None

"""What the agent says of its device (`splitfleet-agent info`, docs/agent.md), checked before anything believes it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, ValidationError

from .result_lines import Reported, Word

_MAX_CHARACTERS = 1 << 20
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]
_Positive = Annotated[int, Field(ge=1, lt=1 << 63)]


class _Agent(Reported):
    version: Word = ""
    build: Word
    compiler: Word
    isa: Word
    architecture: Word
    backends: Annotated[dict[Word, Word], Field(min_length=1, max_length=16)]


class _Core(Reported):
    id: Annotated[int, Field(ge=0, lt=256)]
    max_khz: _Positive | None = None


class _Cpu(Reported):
    cores: Annotated[list[_Core], Field(min_length=1, max_length=256)]


class _Svm(Reported):
    coarse: bool
    fine_buffer: bool
    fine_system: bool
    atomics: bool


class _OpenCL(Reported):
    platform: Word
    platform_version: Word = ""
    device: Word
    vendor: Word
    device_version: Word = ""
    driver_version: Word = ""
    c_version: Word = ""
    compute_units: _Positive
    max_work_group_size: _Positive
    max_work_item_sizes: Annotated[list[_Positive], Field(min_length=1, max_length=8)]
    preferred_vector_float: _Count
    global_bytes: _Count = 0
    local_bytes: _Count = 0
    constant_bytes: _Count = 0
    max_alloc_bytes: _Count
    timer_resolution_ns: _Count = 0
    image2d_max: Annotated[list[_Count], Field(min_length=2, max_length=2, default_factory=lambda: [0, 0])]
    svm: _Svm
    extensions: Annotated[list[Word], Field(max_length=1000, default_factory=list)]


class _Info(Reported):
    version: Annotated[int, Field(alias="schema", ge=1, le=2)]
    agent: _Agent
    cpu: _Cpu
    memory_bytes: _Count = 0
    opencl: _OpenCL | None
    opencl_error: Annotated[str, Field(max_length=4000)] | None = None


def parse_info(text: str) -> dict[str, Any]:
    """The capabilities in what `info` printed; a driver may have warned before or after. Raises ValueError.

    Only what is described above is kept, with the keys that were there.
    """
    text = text[:_MAX_CHARACTERS]
    start = text.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:])
        # Read as JSON again: there a list is a list and a number finite, whatever Python makes of it.
        return _Info.model_validate_json(json.dumps(found)).model_dump(by_alias=True, exclude_unset=True)
    except RecursionError:
        raise ValueError("it is nested without end") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

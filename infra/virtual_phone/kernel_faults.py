"""Kernels that fail on this phone only, as kernels do on a phone whose driver has a fault.

The phone looks at each job file (docs/agent.md) that is pushed to it. A job that is to fail gets a program of its
own, in which every kernel begins with the fault; the file is otherwise left as it came.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .faults import Kernel

JOB_FILE = "jobs.jsonl"
_BEGINNINGS = {
    "hang": "{ volatile int forever = 1; while (forever) { } }",
    "crash": "*(volatile __global int*)8 = 1;",  # an address that no program has
    "nonsense": "return;",  # the output stays what the memory held
}
_KERNEL = re.compile(r"(__kernel\b[^{]*\{)")


class KernelFaults:
    """Which GPU jobs fail, and how. A job that comes again, in whatever file, keeps its number and so its fault."""

    def __init__(self) -> None:
        self._faults: dict[int, Kernel] = {}
        self._numbers: dict[str, int] = {}

    def order(self, fault: Kernel) -> None:
        """From now on, the GPU job with this number has the fault."""
        self._faults[fault.job] = fault

    def clear(self) -> None:
        """No job that is pushed from now on fails."""
        self._faults.clear()

    def tamper(self, content: bytes) -> bytes:
        """The job file as the phone stores it. What is no job file comes back as it is."""
        try:
            lines = [json.loads(line) for line in content.splitlines()]
        except ValueError:
            return content
        if not all(isinstance(line, dict) for line in lines):
            return content
        programs = {line["id"]: line for line in lines if line.get("type") == "program"}
        failing = [line for line in lines if (fault := self._fault_of(line)) and _break(line, fault, programs)]
        if not failing:
            return content
        jobs = [line for line in lines if line.get("type") != "program"]
        return b"".join(json.dumps(line).encode() + b"\n" for line in [*programs.values(), *jobs])

    def _fault_of(self, line: dict[str, Any]) -> Kernel | None:
        if line.get("type") != "job" or line.get("kind") != "gpu":
            return None
        return self._faults.get(self._numbers.setdefault(line["id"], len(self._numbers) + 1))


def _break(job: dict[str, Any], fault: Kernel, programs: dict[str, dict[str, Any]]) -> bool:
    """Gives the job a program that fails; False where the file does not hold the job's program."""
    whole = programs.get(job["plan"]["program"])
    if whole is None:
        return False
    name = f"{whole['id'][:40]}-{fault.effect}"
    source = _KERNEL.sub(rf"\1 {_BEGINNINGS[fault.effect]} ", whole["source"])
    programs[name] = {**whole, "id": name, "source": source}
    job["plan"]["program"] = name
    return True

"""Drives the real agent: writes a job file, runs the program, reads the results."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Line = dict[str, Any]

# Dozens of kernels are compiled, and the machine may be busy.
TIMEOUT_S = 1200
GRACE_S = 300


@dataclass(frozen=True)
class Agent:
    """An agent's program and the device that it finds. Each test has a folder of its own."""

    program: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    emulator: tuple[str, ...] = ()  # what runs the program, where this machine cannot

    def with_environment(self, **more: str) -> Agent:
        return replace(self, environment={**self.environment, **more})

    def call(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [*self.emulator, self.program, *arguments]
        return subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False, timeout=TIMEOUT_S, **options
        )

    def info(self) -> Line:
        done = self.call("info")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs.jsonl"

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    def write(self, lines: Iterable[Line | str | bytes]) -> None:
        self.jobs.write_bytes(b"".join(_encoded(line) + b"\n" for line in lines))

    def again(self, expected_exit: int = 0) -> list[Line]:
        """Runs the job file that lies there; all lines of the result file."""
        done = self.call("run", self.jobs, self.results)
        assert done.returncode == expected_exit, f"exit {done.returncode}: {done.stderr}"
        return self.read()

    def run(self, lines: Iterable[Line | str | bytes], expected_exit: int = 0) -> dict[str, Line]:
        """The results by job id, in the order of the file."""
        self.write(lines)
        return {line["id"]: line for line in self.again(expected_exit) if line["type"] == "result"}

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The job file that lies there, being executed."""
        with subprocess.Popen([self.program, "run", self.jobs, self.results], env=self._environment()) as process:
            try:
                yield process
            finally:
                process.kill()

    def read(self) -> list[Line]:
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    def _environment(self) -> dict[str, str]:
        cache = {"SPLITFLEET_CACHE_DIR": str(self.folder / "cache")}
        grace = {"SPLITFLEET_GRACE_S": str(GRACE_S)}
        return {**os.environ, "HOME": str(self.folder), **cache, **grace, **self.environment}


def _encoded(line: Line | str | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line)).encode()

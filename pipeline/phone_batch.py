"""A batch of jobs on a device: a folder there with the job file, the results, and a detached agent at work.

The agent goes on while the link is down; the host reads results on from where it stopped. An agent that died is
started again on the same files and goes on behind the last complete line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from splitfleet.kernels.errors import DeviceError

from .transport import STORAGE_FULL, PhoneStorageFull, Transport

_TIMEOUT_S = 20.0


class AgentStopped(DeviceError):
    """The agent cannot be kept running on a batch."""


@dataclass(frozen=True)
class NewLines:
    """Result lines that were read, and the offset (bytes) behind the last of them."""

    lines: tuple[dict[str, Any], ...]
    offset: int


class PhoneBatch:
    """One batch on a device; `agent` is the path of the agent there."""

    def __init__(self, transport: Transport, agent: str, batch_id: str) -> None:
        self._transport = transport
        self._agent = agent
        self.id = batch_id
        self._folder = f"{transport.folder}/batches/{batch_id}"

    def put(self, job_file: str) -> None:
        """Writes the job file; the folder shows up whole or not at all."""
        unfinished = f"{self._folder}.new"
        self._must(f"rm -rf {unfinished} && mkdir -p {unfinished}")
        self._transport.push(job_file.encode(), f"{unfinished}/jobs.jsonl")
        self._must(f"mv {unfinished} {self._folder}")

    def start(self) -> None:
        """Starts the agent so that it outlives the connection."""
        # setsid, nohup and the three redirections are all needed: less dies with adb's shell. Once the process has
        # written its id it is in a session of its own, and the shell may end; a fixed pause would cost each batch more.
        self._must(
            f"cd {self._folder} && rm -f pid && {{ setsid nohup sh -c 'echo $$ > pid; exec {self._agent} run "
            "jobs.jsonl results.jsonl' >agent.log 2>&1 </dev/null & n=0; "
            "until [ -s pid ] || [ $n -ge 100 ]; do sleep 0.01; n=$((n + 1)); done; }"
        )

    def read(self, offset: int) -> NewLines:
        """The complete lines from `offset` on; a torn last line is left for the next call."""
        content = self._transport.read_from(f"{self._folder}/results.jsonl", offset)
        whole = content[: content.rfind(b"\n") + 1]
        lines = []
        for line in whole.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                raise AgentStopped(
                    f"{self._transport.name}: batch {self.id} has an unreadable result line: {line[:80]!r}"
                ) from None
        return NewLines(tuple(lines), offset + len(whole))

    def is_running(self) -> bool:
        """Whether the agent's process lives."""
        return self._transport.run(f'kill -0 "$(cat {self._folder}/pid)" 2>/dev/null', _TIMEOUT_S).exit_code == 0

    def log(self) -> str:
        """The last words of the agent."""
        return self._transport.run(f"tail -n 3 {self._folder}/agent.log 2>/dev/null", _TIMEOUT_S).stdout.strip()

    def remove(self) -> None:
        """Ends the agent if it still runs, and removes the batch from the device."""
        self._must(f'kill -9 "$(cat {self._folder}/pid 2>/dev/null)" 2>/dev/null; rm -rf {self._folder}')

    def _must(self, command: str) -> None:
        result = self._transport.run(command, _TIMEOUT_S)
        if result.exit_code:
            raise failed_command(self._transport, command, result.stdout)


def batches_on(transport: Transport) -> dict[str, bool]:
    """The ids of the batches that lie on the device, and whether an agent works on each."""
    each = 'kill -0 "$(cat "$b/pid" 2>/dev/null)" 2>/dev/null && echo "$b running" || echo "$b idle"'
    listing = transport.run(
        f"cd {transport.folder}/batches 2>/dev/null && for b in *; do {each}; done; true", _TIMEOUT_S
    ).stdout
    found = (line.split() for line in listing.splitlines())
    return {name: state == "running" for name, state in found if name != "*" and not name.endswith(".new")}


def failed_command(transport: Transport, command: str, output: str) -> DeviceError:
    """The error for a shell command that had to work."""
    if STORAGE_FULL in output:
        return PhoneStorageFull(f"{transport.name}: disk full: no space left in {transport.folder}; free some")
    return DeviceError(f"{transport.name}: {command.split(' ')[0]} failed: {output.strip()[-300:]}")

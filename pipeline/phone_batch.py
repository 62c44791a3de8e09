"""A batch of jobs on a device: a folder there with the job file, the results, and a detached agent at work.

The agent goes on while the link is down; the host reads results on from where it stopped. An agent that died is
started again on the same files and goes on behind the last complete line.

A batch may name the one that comes next, which then begins on the phone by itself: the shell that has started the
agent waits for its end, and starts it again in the next folder. It does so only behind an agent that ended well, and
not while another campaign wants the phone. Whoever begins a batch, that shell or the host, makes the folder `begun` in
it first, which only one can.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from splitfleet.kernels.errors import DeviceError

from .grace import GRACE, grace_s
from .result_lines import MAX_LINE_BYTES, BadLine, ResultReader
from .transport import READ_LIMIT_BYTES, STORAGE_FULL, PhoneStorageFull, Transport

_TIMEOUT_S = 20.0
_BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # it stands in shell commands
GUARD_CELSIUS = 110.0
"""Above what any chip runs at, so that the agent's own heat guard goes by Android's thermal status alone."""


class AgentStopped(DeviceError):
    """The agent cannot be kept running on a batch."""


@dataclass(frozen=True)
class NewLines:
    """Result lines that were read, the offset (bytes) behind the last of them, and what is wrong with the next one."""

    lines: tuple[dict[str, Any], ...]
    offset: int
    fault: str = ""


class PhoneBatch:
    """One batch on a device; `agent` is the path of the agent there, `jobs` the ids of its jobs where they are known,
    `max_celsius` the zone temperature above which the agent waits between jobs, `bound_us` how long one job may take
    beside its grace for building."""

    def __init__(
        self,
        transport: Transport,
        agent: str,
        batch_id: str,
        jobs: frozenset[str] | None = None,
        max_celsius: float | None = None,
        bound_us: int = 0,
    ) -> None:
        self._transport = transport
        self._agent = agent
        self.id = batch_id
        self._folder = f"{transport.folder}/batches/{batch_id}"
        self._reader = ResultReader(jobs)
        self._guard_celsius = max_celsius or GUARD_CELSIUS
        self.job_count = None if jobs is None else len(jobs)
        self.bound_s = grace_s() + bound_us / 1e6

    @property
    def name(self) -> str:
        """Phone and batch, as messages name them."""
        return f"{self._transport.name}: batch {self.id}"

    def put(self, job_file: str) -> None:
        """Writes the job file aside; the folder shows up whole, when the batch is begun or named as the next one."""
        # What an earlier try has left of any of the campaign's batches goes first.
        owner = self.id.rpartition("-")[0] or self.id
        unfinished = f"{self._transport.folder}/batches/{owner}*.new"
        self._must(f"rm -rf {unfinished} && mkdir -p {self._folder}.new")
        self._transport.push(job_file.encode(), f"{self._folder}.new/jobs.jsonl")

    def put_next(self, batch: PhoneBatch, job_file: str) -> None:
        """Writes the job file of the batch that comes next, and lets the phone go on with it by itself."""
        batch.put(job_file)
        # By cat: of a full disk a shell's own echo says no more than "I/O error".
        self._must(f"{batch._show} && cd {self._folder} && echo {batch.id} | cat >next.new && mv next.new next")

    def begin(self) -> None:
        """Starts the agent, unless the batch has been begun."""
        self._must(f"{self._show} && cd {self._folder} && if mkdir begun 2>/dev/null; then {self._start_command}; fi")

    def has_begun(self) -> bool:
        """Whether somebody has begun the batch."""
        return self._transport.run(f"[ -d {self._folder}/begun ]", _TIMEOUT_S).exit_code == 0

    def start(self) -> None:
        """Starts the agent again, so that it outlives the connection, whether the batch has been begun or not."""
        self._must(f"{self._show} && cd {self._folder} && mkdir -p begun && {self._start_command}")

    @property
    def _show(self) -> str:
        return f"{{ [ ! -d {self._folder}.new ] || mv {self._folder}.new {self._folder}; }}"

    @property
    def _start_command(self) -> str:
        # setsid, nohup and the three redirections are all needed: less dies with adb's shell. Once the agent's process
        # id is written it is in a session of its own, and the shell may end; a fixed pause would cost each batch more.
        guard = f"export SPLITFLEET_MAX_CELSIUS=${{SPLITFLEET_MAX_CELSIUS:-{self._guard_celsius:g}}}"
        guard += f" {GRACE}=${{{GRACE}:-{grace_s()}}}"
        run = f"{self._agent} run jobs.jsonl results.jsonl >agent.log 2>&1 & echo $! >pid; wait $!"
        go_on = '[ ! -e ../../wanted ] && [ -s next ] && cd "../$(cat next)" && mkdir begun'
        return (
            f"rm -f pid && {guard} && {{ setsid nohup sh -c 'while {run} && {go_on}; do :; done' "
            ">/dev/null 2>&1 </dev/null & n=0; until [ -s pid ] || [ $n -ge 100 ]; do sleep 0.01; n=$((n + 1)); done; }"
        )

    def read(self, offset: int) -> NewLines:
        """The complete lines from `offset` on, up to one that is no result; a torn last line is left for later."""
        content = self._transport.read_from(f"{self._folder}/results.jsonl", offset)
        limit = READ_LIMIT_BYTES
        while len(content) == limit and b"\n" not in content:
            if limit > MAX_LINE_BYTES:
                return NewLines((), offset, f"it is longer than {MAX_LINE_BYTES >> 20} MiB")
            content += self._transport.read_from(f"{self._folder}/results.jsonl", offset + limit)
            limit += READ_LIMIT_BYTES
        return self._take(content, offset)

    def _take(self, content: bytes, offset: int) -> NewLines:
        lines: list[dict[str, Any]] = []
        start = 0
        while (end := content.find(b"\n", start)) >= 0:
            try:
                line = self._reader.take(content[start:end], offset + start)
            except BadLine as error:
                return NewLines(tuple(lines), offset + start, f"{error}: {content[start : start + 60]!r}")
            if line is not None:
                lines.append(line)
            start = end + 1
        return NewLines(tuple(lines), offset + start)

    def is_running(self) -> bool:
        """Whether the agent's process lives."""
        return self._transport.run(f"cd {self._folder} && {_IS_RUNNING}", _TIMEOUT_S).exit_code == 0

    def log(self) -> str:
        """The last words of the agent."""
        return self._transport.run(f"tail -n 3 {self._folder}/agent.log 2>/dev/null", _TIMEOUT_S).stdout.strip()[-1000:]

    def remove(self) -> None:
        """Ends the agent if it still runs, and removes the batch from the device."""
        kill = f'{_IS_RUNNING} && kill -9 "$(cat pid)"'
        self._must(f"(cd {self._folder} 2>/dev/null && {kill}) 2>/dev/null; rm -rf {self._folder} {self._folder}.new")

    def _must(self, command: str) -> None:
        result = self._transport.run(command, _TIMEOUT_S)
        if result.exit_code:
            raise failed_command(self._transport, f"batch {self.id}", result.stdout)


# A restarted phone gives process ids anew: that the process works in the batch's folder shows that it is the agent.
_IS_RUNNING = '[ "$(readlink "/proc/$(cat pid 2>/dev/null)/cwd" 2>/dev/null)" = "$(pwd -P)" ]'


def batches_on(transport: Transport) -> dict[str, bool]:
    """The ids of the batches that lie on the device, and whether an agent works on each."""
    each = f'(cd "$b" && {_IS_RUNNING}) && echo "$b running" || echo "$b idle"'
    listing = transport.run(
        f"cd {transport.folder}/batches 2>/dev/null && for b in *; do {each}; done; true", _TIMEOUT_S
    ).stdout
    found = [line.split(" ") for line in listing.splitlines()]
    return {words[0]: words[1:] == ["running"] for words in found if _BATCH_ID.fullmatch(words[0])}


def failed_command(transport: Transport, what: str, output: str) -> DeviceError:
    """The error for a shell command that had to work; `what` it worked on."""
    if STORAGE_FULL in output:
        return PhoneStorageFull(f"{transport.name}: disk full: no space left in {transport.folder}; free some")
    return DeviceError(f"{transport.name}: {what} failed: {output.strip()[-300:]}")

"""What may become of the agent on this phone: killed, hung, and its result file torn, spoiled or doubled.

An order waits for an agent at work (docs/agent.md: `AGENT run JOBS RESULTS`) that has written enough results. Nothing
else runs on the phone while it strikes, so that a fault is whole when the host looks next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

from .faults import Agent
from .processes import descendants, parent, wait_until_gone

_LOGGER = logging.getLogger(__name__)
_LOOK_S = 0.01


@dataclass(frozen=True)
class WorkingAgent:
    """An agent at work: its supervisor, all its processes, and its result file."""

    supervisor: int
    pids: tuple[int, ...]
    results: Path

    def lines(self) -> list[bytes]:
        """Complete lines that are results, each with its line end."""
        with contextlib.suppress(OSError):
            content = self.results.read_bytes()
            return [line for line in content.splitlines(keepends=True) if b'"result"' in line and line.endswith(b"\n")]
        return []


class AgentFaults:
    """Strikes the agents of one phone as ordered."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[None]] = set()
        self._stopped: tuple[int, ...] = ()

    def order(self, fault: Agent) -> None:
        """Strikes once, as soon as an agent is at work that has written `after_results` results."""
        task = asyncio.create_task(self._strike(fault))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def clear(self) -> None:
        """Agents that hang go on; what has not struck will not."""
        for task in self._waiting:
            task.cancel()
        self._go_on()

    async def _strike(self, fault: Agent) -> None:
        needed = fault.after_results
        if fault.effect in ("torn", "duplicate"):
            needed = max(needed, 1)  # there must be a line
        while True:
            agent = working_agent()
            if agent and len(lines := agent.lines()) >= needed:
                break
            await asyncio.sleep(_LOOK_S)
        _LOGGER.warning("agent %d after %d results: %s, as ordered", agent.supervisor, len(lines), fault.effect)
        match fault.effect:
            case "kill":
                os.kill(agent.supervisor, signal.SIGKILL)
            case "hang":
                self._hang(agent.pids, fault.seconds)
            case "torn":
                os.kill(agent.supervisor, signal.SIGKILL)
                wait_until_gone(agent.supervisor)
                _append(agent.results, lines[-1][: random.Random(fault.seed).randrange(1, len(lines[-1]) - 1)])
            case "garbage":
                _append(agent.results, garbage(fault.seed))
            case "duplicate":
                _append(agent.results, lines[-1])

    def _hang(self, pids: tuple[int, ...], seconds: float | None) -> None:
        self._stopped = pids
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        for pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped = ()


def working_agent() -> WorkingAgent | None:
    """The agent that is at work on this phone, or None."""
    found: dict[int, Path] = {}
    for pid in descendants():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            if len(words) >= 4 and words[1] == "run" and "agent" in Path(words[0]).name:
                found[pid] = Path(f"/proc/{pid}/cwd").readlink() / words[-1]
    supervisor = next((pid for pid in found if parent(pid) not in found), None)
    if supervisor is None:
        return None
    return WorkingAgent(supervisor, tuple(sorted(found)), found[supervisor])


def garbage(seed: int) -> bytes:
    """A line that is no result: noise, or JSON that breaks docs/agent.md in one of many ways."""
    chance = random.Random(seed)
    result = {"type": "result", "schema": 2, "id": "0" * 24, "kind": "gpu", "status": "ok", "error": None}
    return (
        chance.choice(
            [
                chance.randbytes(chance.randrange(1, 400)).replace(b"\n", b" "),
                b"[" * 5000,
                b"null",
                b'"result"',
                json.dumps({**result, "id": chance.choice([17, None, ["a"], {}])}).encode(),
                json.dumps({**result, "status": chance.choice([None, 3, "fine", ["ok"]])}).encode(),
                json.dumps({**result, "elapsed_us": chance.choice(["soon", [], {"a": 1}])}).encode(),
                json.dumps({**result, "elapsed_us": float("nan")}).encode(),
                json.dumps({**result, "samples": {"wall_ns": [float("inf"), "x", None]}}).encode(),
                b'{"type": "result", "id": "'
                + b"9" * chance.randrange(10_000)
                + b'", "elapsed_us": '
                + b"9" * 400
                + b"}",
            ]
        )
        + b"\n"
    )


def _append(file: Path, content: bytes) -> None:
    with file.open("ab", buffering=0) as opened:
        opened.write(content)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

"""Times a tiny function over TVM's RPC tracker and server on loopback. Runs in a virtual environment with apache-tvm.

Prints JSON: for each way to work, milliseconds a job beyond the function's own measured time.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tvm
from tvm import rpc, te

KEY = "bench"
SIZE = 64
_numbers = itertools.count()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ports(first: int) -> list[str]:
    """Both take the first free one of a range."""
    return ["--port", str(first), "--port-end", str(first + 1)]


def build(folder: Path) -> Path:
    """A shared library that adds one to a few numbers."""
    given = te.placeholder((SIZE,), name="given")
    result = te.compute((SIZE,), lambda i: given[i] + 1.0, name="result")
    library = folder / "tiny.so"
    tvm.compile(tvm.IRModule({"main": te.create_prim_func([given, result])}), target="llvm").export_library(
        str(library)
    )
    return library


def measured_s(session: rpc.RPCSession, module: tvm.runtime.Module) -> float:
    """Times the function three times; returns what the repetitions took together."""
    device = session.cpu(0)
    arrays = [tvm.runtime.tensor(np.zeros(SIZE, "float32"), device) for _ in range(2)]
    timed = module.time_evaluator("main", device, number=1, repeat=3)(*arrays)
    return sum(timed.results)


def loaded(session: rpc.RPCSession, library: Path) -> tvm.runtime.Module:
    name = f"tiny{next(_numbers)}.so"  # the server has the last one in use
    session.upload(str(library), target=name)
    return session.load_module(name)


def cost_ms(jobs: int, job: Callable[[], float]) -> float:
    job()
    began = time.perf_counter()
    own_s = sum(job() for _ in range(jobs))
    return 1e3 * (time.perf_counter() - began - own_s) / jobs


def main(jobs: int) -> None:
    tracker_port, python = free_port(), sys.executable
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        address = ["--host", "127.0.0.1"]
        tracker = subprocess.Popen([python, "-m", "tvm.exec.rpc_tracker", *address, *ports(tracker_port)], **quiet)
        where = ["--tracker", f"127.0.0.1:{tracker_port}", "--key", KEY, *ports(free_port())]
        server = subprocess.Popen([python, "-m", "tvm.exec.rpc_server", *address, *where], **quiet)
        try:
            session = request(tracker_port)
            module = loaded(session, library)
            found = {
                "one session, one module": cost_ms(jobs, lambda: measured_s(session, module)),
                "one session, a module per job": cost_ms(jobs, lambda: measured_s(session, loaded(session, library))),
            }
            module = session = None  # the server serves one session at a time

            def alone() -> float:
                own = request(tracker_port)
                return measured_s(own, loaded(own, library))

            found["a session per job"] = cost_ms(max(jobs // 20, 5), alone)
        finally:
            for process in (server, tracker):
                os.killpg(process.pid, signal.SIGKILL)  # both have workers of their own
                process.wait()
    print(json.dumps(found))


def request(tracker_port: int) -> rpc.RPCSession:
    """A session from the tracker, as soon as tracker and server are there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return rpc.connect_tracker("127.0.0.1", tracker_port).request(KEY, session_timeout=60)
        except (RuntimeError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main(int(sys.argv[1]))

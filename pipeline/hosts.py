"""Lab hosts as one Ray cluster: start its head, join it, leave it, list it.

Each host's Ray node is kept by one process of its own (`ray start --block`), which ends with all it started. Its
record (host_record.py) lies in the home folder as long as the host is in the cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from splitfleet.kernels.errors import HarnessError, UserError

from .brokers import HOST_LABEL, HOST_RESOURCE
from .campaign import Phones
from .host_record import HOST_VARIABLE, HostRecord, load_record, record_path, records, save_record
from .ray_environment import OBJECT_STORE_BYTES, ensure_token, is_loopback, ray_environment, require_token
from .ray_session import again_if_late, check_answers, last_line, ray_session

DEFAULT_PORT = 6379
_START_S = 90.0
_STOP_S = 20.0
_ALONE_S = 2.0
_FOLDER_PREFIX = "splitfleet-host-"
_STARTED = "Ray runtime started"

_kept: dict[int, subprocess.Popen[bytes]] = {}
"""The nodes that this process has started, by process id; they outlive it."""


@dataclass(frozen=True)
class ClusterHost:
    """A node of a cluster. `serves_phones`: campaigns look for phones there."""

    name: str
    address: str
    is_alive: bool
    is_head: bool
    serves_phones: bool


def start_cluster(name: str, phones: Phones, listen: str = "127.0.0.1", port: int = DEFAULT_PORT) -> HostRecord:
    """Makes this host the head of a new cluster; makes the token where there is none. `phones` may be none.

    It listens on `listen` only where that is a loopback address: with any other one, Ray listens on all of this
    host's addresses. Raises UserError where the host is in a cluster already or the port is taken.
    """
    _refuse_twice(name)
    address = f"{listen}:{port}"
    try:
        with socket.create_server((listen, port)):
            pass
    except OSError as error:
        raise UserError(
            f"{address} cannot be listened on ({error.strerror}): give an address of this host and a free port: "
            "splitfleet host start --listen ADDRESS --port PORT"
        ) from None
    arguments = ["--head", f"--port={port}", "--include-dashboard=false", "--no-monitor"]
    token = ensure_token()
    return again_if_late(lambda: _start_node(name, phones, address, listen, arguments, token, is_head=True))


def join_cluster(cluster: str, name: str, phones: Phones, listen: str | None = None) -> HostRecord:
    """Brings this host and its phones into the cluster whose head is at HOST:PORT.

    A host that has joined already gets these phones instead of those before, also in a running campaign. Raises
    UserError where the head does not answer, the token is missing, or it must be said on which address to listen.
    """
    before = _running(name)
    if before is not None and before.cluster == cluster:
        after = before.model_copy(update={"phones": phones})
        save_record(after)
        return after
    _refuse_twice(name)
    check_answers(cluster)
    token = require_token(cluster)
    if listen is None and not is_loopback(cluster):
        raise UserError(
            f"the hosts of {cluster} must reach this one: name the address that it shall listen on, for example "
            f"splitfleet host join {cluster} --listen {_address_towards(cluster)}"
        )
    arguments, own = [f"--address={cluster}"], listen or "127.0.0.1"
    return again_if_late(lambda: _start_node(name, phones, cluster, own, arguments, token, is_head=False))


def leave_cluster(name: str) -> HostRecord:
    """Takes this host out of its cluster; what its phones do goes on there. Raises UserError where it is in none."""
    record = load_record(name)
    if record is None:
        joined = ", ".join(other.name for other in records())
        raise UserError(f"host {name} is in no cluster" + (f"; in one are: {joined} (--name)" if joined else ""))
    _end(record)
    return record


def wait_for_end(record: HostRecord) -> None:
    """Returns when the host's Ray node has ended, for whatever reason; removes what it leaves."""
    process = _keeper(record)
    if process is not None:
        process.wait()
    _end(record)


def list_hosts(cluster: str) -> list[ClusterHost]:
    """The hosts of a cluster that this host is in; of one that is not alive, only the latest is told."""
    with ray_session(cluster):
        import ray

        found: dict[str, ClusterHost] = {}
        for node in sorted(ray.nodes(), key=lambda node: bool(node["Alive"])):
            name = node["Labels"].get(HOST_LABEL) or node["NodeManagerHostname"]
            found[name] = ClusterHost(
                name,
                node["NodeManagerAddress"],
                bool(node["Alive"]),
                "node:__internal_head__" in node["Resources"],
                HOST_RESOURCE in node["Resources"],
            )
    return sorted(found.values(), key=lambda host: (not host.is_head, host.name))


def _start_node(
    name: str, phones: Phones, cluster: str, listen: str, arguments: list[str], token: Path, *, is_head: bool
) -> HostRecord:
    # Ray puts sockets below this folder, and their paths must stay short.
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{name[:12]}-"))
    serves = bool(phones.tcp or phones.usb or phones.local)
    command = [sys.executable, "-m", "splitfleet.pipeline.ray_node", "--block", *arguments]
    command += [f"--node-ip-address={listen}", f"--temp-dir={folder}", "--num-cpus=1", "--num-gpus=0"]
    command += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--dashboard-agent-listen-port=0"]
    command += ["--include-log-monitor=false", f"--labels={HOST_LABEL}={name}"]
    # A head without phones serves none; a host that joined may be given some later.
    command += [f"--resources={json.dumps({HOST_RESOURCE: 1})}"] if serves or not is_head else []
    environment = {**os.environ, **ray_environment(listen, token), HOST_VARIABLE: name}
    # `ray start` lets nobody join without it; ray_node.py sees to it that it listens where it shall.
    environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    log = folder / "node.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    _kept[process.pid] = process
    started_s = psutil.Process(process.pid).create_time()
    record = HostRecord(
        name=name,
        cluster=cluster,
        is_head=is_head,
        listen=listen,
        pid=process.pid,
        started_s=started_s,
        folder=str(folder),
        phones=phones,
    )
    save_record(record)
    deadline_s = time.monotonic() + _START_S
    while _STARTED not in log.read_text("utf-8", "replace"):
        if process.poll() is not None or time.monotonic() > deadline_s:
            said = last_line(log.read_text("utf-8", "replace"))
            _end(record)
            raise HarnessError(_start_failure(record, said))
        time.sleep(0.2)
    return record


def _start_failure(record: HostRecord, said: str) -> str:
    if record.is_head:
        return f"Ray did not start on this host: {said}. Is /tmp or /dev/shm full?"
    return (
        f"this host could not join the cluster at {record.cluster}: {said}. Is its token the head's, and are Ray and "
        "Python the same release on both?"
    )


def _refuse_twice(name: str) -> None:
    record = _running(name)
    if record is not None:
        raise UserError(
            f"host {name} is in the cluster at {record.cluster} already; to leave it: splitfleet host leave"
        )


def _running(name: str) -> HostRecord | None:
    """The record of a host whose Ray node lives; what a dead one left is removed."""
    record = load_record(name)
    if record is None or _keeper(record) is not None:
        return record
    _end(record)
    return None


def _keeper(record: HostRecord) -> psutil.Process | None:
    """The process that keeps the node, unless another one has its number by now."""
    try:
        process = psutil.Process(record.pid)
        is_same = abs(process.create_time() - record.started_s) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if is_same else None


def _end(record: HostRecord) -> None:
    """Ends the node with all its processes, and removes its folder and record."""
    keeper = _keeper(record)
    if keeper is not None:
        family = [keeper, *keeper.children(recursive=True)]
        keeper.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=_STOP_S if _can_say_goodbye(record) else _ALONE_S)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=_STOP_S)
    else:
        _end_orphans(record)
    if record.pid in _kept:
        _kept.pop(record.pid).wait(_STOP_S)
    shutil.rmtree(record.folder, ignore_errors=True)
    record_path(record.name).unlink(missing_ok=True)


def _can_say_goodbye(record: HostRecord) -> bool:
    """Whether the head is there: without it Ray would wait for its answer until it is killed."""
    try:
        check_answers(record.cluster)
    except UserError:
        return False
    return True


def _end_orphans(record: HostRecord) -> None:
    """Ends what a keeper that was killed has left: the processes that carry the node's folder in their command."""
    orphans = []
    for process in psutil.process_iter(["cmdline"]):
        if any(record.folder in word for word in process.info["cmdline"] or []):
            orphans.append(process)
    for process in orphans:
        process.kill()
    psutil.wait_procs(orphans, timeout=_STOP_S)


def _address_towards(cluster: str) -> str:
    """The address of this host that its packets to the head carry. Nothing is sent."""
    host, _, port = cluster.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))
            return str(probe.getsockname()[0])
        except OSError:
            return "ADDRESS"

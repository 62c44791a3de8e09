"""A network namespace of a test's own, joined to this one by a link with an MTU of 1500 bytes."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_HERE, _THERE = "198.18.77.1", "198.18.77.2"  # a range that is kept for trials of networks


@dataclass(frozen=True)
class Namespace:
    """`here` is this side's address of the link, `there` the namespace's."""

    name: str
    here: str
    there: str

    def listener(self) -> socket.socket:
        """A listening socket inside the namespace. A socket stays where it was made, whoever uses it."""
        made: list[socket.socket] = []

        def make() -> None:
            # Only this thread moves; it ends here.
            with Path(f"/var/run/netns/{self.name}").open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server((self.there, 0)))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]


@contextmanager
def network_namespace() -> Iterator[Namespace]:
    """Skips the test, with the reason, where a namespace cannot be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip")
    name = f"splitfleet-{os.getpid()}"
    outer, inner = f"sfo{os.getpid()}"[:15], f"sfi{os.getpid()}"[:15]
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
    try:
        for command in (
            f"ip link add {outer} mtu 1500 type veth peer name {inner} mtu 1500 netns {name}",
            f"ip addr add {_HERE}/30 dev {outer}",
            f"ip link set {outer} up",
            f"ip -n {name} addr add {_THERE}/30 dev {inner}",
            f"ip -n {name} link set {inner} up",
            f"ip -n {name} link set lo up",
        ):
            done = subprocess.run(command.split(), capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{command}: {done.stderr.strip()}")
        yield Namespace(name, _HERE, _THERE)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
        subprocess.run(["ip", "link", "del", outer], capture_output=True)

from __future__ import annotations

import ipaddress
import subprocess
import sys

import psutil

from splitfleet.pipeline.ray_environment import token_path
from splitfleet.pipeline.ray_session import ray_session

from .ray_client import ask, is_refused


def test_ray_listens_on_loopback_only(ray: None) -> None:
    addresses = {
        connection.laddr.ip
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses, "Ray's servers were not found"
    assert all(ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback for address in addresses), addresses


def test_a_session_inside_another_is_the_same(ray: None) -> None:
    import ray as ray_module

    with ray_session():
        pass
    assert ray_module.is_initialized()


def test_a_session_of_its_own_asks_for_the_token_too(ray: None) -> None:
    import ray as ray_module

    address = ray_module.get_runtime_context().gcs_address
    assert is_refused(address, None)
    assert token_path().stat().st_mode & 0o777 == 0o600
    assert ask(address, token_path()).returncode == 0


LATE = """
import os, time
from splitfleet.pipeline.ray_environment import ensure_token, ray_environment
os.environ.update(ray_environment("", ensure_token()))  # before Ray is imported, which reads it then
import psutil, ray
from ray._private import services
from splitfleet.pipeline.ray_session import ray_session

known, clock, asked = services.get_node, time.monotonic, []

def get_node(address, node):
    asked.append(node)
    if node != asked[0]:
        return known(address, node)
    time.monotonic = lambda: clock() + 31  # its 30 s are over
    raise RuntimeError("no such node yet")

services.get_node = get_node
with ray_session():
    ours = [process.name() for process in psutil.Process().children()]
    print(f"{len(ray.nodes())} node, begun {len(set(asked))} times, {ours.count('gcs_server')} GCS")
"""


def test_a_node_that_comes_too_late_is_started_once_more() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=600)
    assert done.stdout == "1 node, begun 2 times, 1 GCS\n", done.stderr

from __future__ import annotations

import ipaddress

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

"""All brokers of a fleet: one on each host of the cluster that serves phones, found again as hosts come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from splitfleet.kernels.errors import HarnessError, UserError

from .broker import BrokerSetup
from .campaign import Phones
from .messages import BrokerMessage, HostNote, PhoneCommand
from .ray_broker import Host, RayBroker
from .ray_session import check_answers

HOST_RESOURCE = "adb_host"
"""The custom resource of Ray nodes that serve phones."""
HOST_LABEL = "splitfleet-host"
"""The label of such a node: the host's name."""

_LOOK_S = 2.0
# Ray ends a driver whose head has been silent for 60 s, at once and with words of its own; ours come before.
_HEAD_SILENT_S = 15.0


class Brokers:
    """The phones of all hosts, as if one broker served them. `cluster` is its address, empty where Ray is here alone.

    The phones that `setup` names are served by this host, the others by the hosts that have them.
    """

    def __init__(self, setup: BrokerSetup, cluster: str) -> None:
        self._setup = setup
        self._cluster = cluster
        self._brokers: dict[str, RayBroker] = {}
        self._known: set[str] = set()
        self._looked_s = 0.0
        self._head_answered_s = time.monotonic()
        self._news: list[BrokerMessage] = []
        self._look()
        if not self._brokers:
            raise UserError(
                f"no host of the cluster at {cluster} serves phones: on each host that has some, run "
                f"splitfleet host join {cluster} --usb"
            )

    @property
    def have_answered(self) -> bool:
        """Whether every host has said which phones it has."""
        return all(broker.has_answered for broker in self._brokers.values())

    def poll(self, wait_s: float) -> list[BrokerMessage]:
        """What the hosts have reported since the last call; waits up to `wait_s` for the first."""
        import ray

        deadline_s = time.monotonic() + wait_s
        while True:
            if time.monotonic() - self._looked_s > _LOOK_S:
                self._look()
            calls = [call for broker in self._brokers.values() for call in broker.calls()]
            left_s = max(min(deadline_s - time.monotonic(), _LOOK_S), 0.0)
            answered: set[Any] = set()
            if calls and not self._news:
                ready, _ = ray.wait(calls, num_returns=1, timeout=left_s)
                # Whatever else is there is taken in the same round.
                answered = set(ready) | set(ray.wait(calls, num_returns=len(calls), timeout=0)[0])
            elif not self._news:
                time.sleep(left_s)
            messages, self._news = self._news, []
            for broker in self._brokers.values():
                messages += broker.collect(answered)
            if messages or time.monotonic() >= deadline_s:
                return messages

    def command(self, address: str, session: int, command: PhoneCommand) -> None:
        """Sends a command to a phone; it leaves with the next `poll`."""
        for broker in self._brokers.values():
            if address.startswith(broker.host.prefix):
                broker.command(address, session, command)

    def stop(self) -> None:
        """Ends all brokers; what runs on the phones goes on there."""
        for broker in self._brokers.values():
            broker.stop()

    def _head_answers(self) -> bool:
        """Whether the cluster's head does. Raises HarnessError when it has not for a while."""
        if not self._cluster:
            return True
        try:
            check_answers(self._cluster)
        except UserError as error:
            if time.monotonic() - self._head_answered_s > _HEAD_SILENT_S:
                self._brokers.clear()  # without the head nobody can be told to end; they end by themselves
                raise HarnessError(
                    f"the head of the cluster is gone: {error}. What was measured is kept, and phones finish what they "
                    "have. When the head runs again and the hosts have joined it, run the same command again"
                ) from None
            return False
        self._head_answered_s = time.monotonic()
        return True

    def _look(self) -> None:
        """Notices hosts that joined and hosts that are gone."""
        self._looked_s = time.monotonic()
        if not self._head_answers():
            return
        hosts = {host.node_id: host for host in _hosts(self._cluster, self._setup.phones)}
        for node_id in [node_id for node_id in self._brokers if node_id not in hosts]:
            host = self._brokers[node_id].host
            reason = (
                f"host {host.name} is gone from the cluster; what its phones do goes on there. When it runs again, on "
                f"it: splitfleet host join {self._cluster}"
            )
            self._news += [HostNote(reason), *self._brokers.pop(node_id).leave(reason)]
        for node_id, host in hosts.items():
            if node_id not in self._brokers:
                setup = self._setup if node_id == _own_node() else replace(self._setup, phones=Phones())
                self._brokers[node_id] = RayBroker(host, setup)
                if self._known and host.name not in self._known:
                    self._news.append(HostNote(f"host {host.name} has joined the cluster"))
                elif self._known:
                    self._news.append(HostNote(f"host {host.name} is back"))
        self._known |= {host.name for host in hosts.values()}


def _own_node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _hosts(cluster: str, named: Phones) -> list[Host]:
    """The nodes that are alive and serve phones, and this one where phones are named."""
    import ray

    own = _own_node()
    names_here = bool(named.tcp or named.usb or named.local)
    found = []
    for node in ray.nodes():
        node_id = node["NodeID"]
        if node["Alive"] and (HOST_RESOURCE in node["Resources"] or (names_here and node_id == own)):
            found.append((node["Labels"].get(HOST_LABEL) or node["NodeManagerHostname"], node_id))
    names = [name for name, _ in found]
    hosts = []
    for name, node_id in sorted(found):
        # Two hosts of one name are told apart by their nodes.
        unique = name if names.count(name) == 1 else f"{name}-{node_id[:4]}"
        hosts.append(Host(unique, node_id, f"{unique}/" if cluster else ""))
    return hosts


@contextmanager
def ray_brokers(setup: BrokerSetup, cluster: str) -> Iterator[Brokers]:
    """Brokers inside the block, ended with it; Ray must be running. Raises UserError where no host serves phones."""
    brokers = Brokers(setup, cluster)
    try:
        yield brokers
    finally:
        brokers.stop()

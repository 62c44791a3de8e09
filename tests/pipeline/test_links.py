"""Links as they are: an MTU of 1500 bytes, delay, loss, stalls and cuts."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from splitfleet.kernels.errors import DeviceError
from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.campaign_run import campaign_status, run_campaign
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.transport import Deadlines
from splitfleet.predictors.traces import read_traces

from ..infra.namespaces import network_namespace
from ..infra.phones import RunningPhone, running_phone, wait_until
from ..infra.relay import Link, relay_to
from .campaigns import write_campaign

DEADLINES = Deadlines(connect_s=3.0, authorize_s=5.0, transfer_s=60.0)


@pytest.fixture(scope="module")
def phone(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPhone]:
    with running_phone(tmp_path_factory.mktemp("links") / "phone") as running:
        yield running


def pushed_whole(transport: AdbTransport, size: int) -> bool:
    """Whether a file of so many bytes arrives with every byte, there and back."""
    content = random.Random(size).randbytes(size)
    transport.run(f"mkdir -p {transport.folder}", 10)
    transport.push(content, f"{transport.folder}/pushed")
    told = transport.run(f"sha256sum {transport.folder}/pushed", 20).stdout.split()[0]
    tail = transport.read_from(f"{transport.folder}/pushed", size - 100_000)
    return told == hashlib.sha256(content).hexdigest() and tail == content[-100_000:]


def test_twenty_megabytes_over_an_mtu_of_1500(phone: RunningPhone) -> None:
    with network_namespace() as namespace, relay_to(phone.address, listener=namespace.listener()) as relay:
        assert relay.address.startswith(namespace.there)
        transport = AdbTransport(relay.address, deadlines=DEADLINES)
        assert pushed_whole(transport, 20_000_000)
        transport.close()


def test_a_link_with_delay_and_loss(phone: RunningPhone) -> None:
    link = Link(delay_s=0.02, loss=0.005, retransmit_s=0.1)
    with relay_to(phone.address, link, seed=11) as relay:
        transport = AdbTransport(relay.address, deadlines=DEADLINES)
        assert pushed_whole(transport, 1_000_000)
        assert relay.lost_segments > 0
        assert relay.connections == 1
        transport.close()


@pytest.mark.parametrize("trouble", ["stall", "cut in a push", "cut in an answer", "down"])
def test_a_link_that_fails_is_named_and_then_works_again(phone: RunningPhone, trouble: str) -> None:
    with relay_to(phone.address) as relay:
        transport = AdbTransport(relay.address, deadlines=Deadlines(connect_s=20, authorize_s=20, transfer_s=1.0))
        assert transport.run("echo before", 10).stdout == "before\n"
        troubles: dict[str, Callable[[], None]] = {
            "stall": relay.stall,
            "cut in a push": lambda: relay.cut_after(40_000, "to_phone"),
            "cut in an answer": lambda: relay.cut_after(40_000, "to_host"),
            "down": relay.down,
        }
        troubles[trouble]()

        def use() -> None:
            if trouble == "cut in an answer":
                transport.run("seq 100000", 5)
            else:
                transport.push(bytes(1_000_000), "/data/local/tmp/file")

        with pytest.raises(DeviceError, match=f"phone {relay.address}: "):
            use()
        relay.resume()
        assert transport.run("echo after", 10).stdout == "after\n"
        transport.close()


def test_a_campaign_over_a_link_that_delays_loses_stalls_and_breaks(
    ray: None, settings: FleetSettings, phone: RunningPhone, tmp_path: Path
) -> None:
    folder = tmp_path / "run"

    def results() -> int:
        try:
            return sum(row.done + row.rejected for row in campaign_status(folder).counts)
        except Exception:
            return 0

    with relay_to(phone.address, Link(delay_s=0.01, loss=0.01, retransmit_s=0.05), seed=5) as relay:

        def disturb() -> None:
            for count, act in ((2, relay.cut), (6, lambda: relay.stall(2)), (10, lambda: relay.down(1))):
                wait_until(lambda count=count: results() >= count)  # type: ignore[misc]
                act()

        thread = threading.Thread(target=disturb)
        thread.start()
        with (tmp_path / "said").open("w") as output:
            progress = PlainProgress(Console(file=output, width=200))
            file = write_campaign(tmp_path, relay.address, samples=40, job_us=50_000)
            summary = run_campaign(file, folder, progress=progress, settings=settings)
        thread.join()
        assert relay.connections > 2
    assert all(row.done + row.rejected == row.jobs > 0 for row in summary.counts)
    traces = read_traces(folder)
    assert len(traces) == sum(row.jobs for row in summary.counts)
    assert not traces.duplicated(["job_id", "purpose"]).any()

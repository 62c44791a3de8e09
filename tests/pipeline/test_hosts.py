"""Several lab hosts as one cluster: two Ray nodes on this machine, each with phones of its own."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.campaign import phones_at
from splitfleet.pipeline.campaign_run import campaign_status
from splitfleet.pipeline.host_record import HostRecord, load_record
from splitfleet.pipeline.hosts import join_cluster, leave_cluster, start_cluster
from splitfleet.pipeline.ledger import Ledger
from splitfleet.predictors.traces import read_traces

from ..infra.phones import PHONE, RunningPhone, running_phone, wait_until
from ..ports import free_port
from .campaigns import write_campaign
from .ray_client import ask, is_refused

PHONE_B = PHONE.replace("test-phone", "serial-of-b").replace("Test Phone", "Other Phone")
PHONE_B += "[gpu]\nmax_work_group_size = 16\n"
PHONE_A = PHONE.replace("test-phone", "serial-of-a")

DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from splitfleet.kernels.errors import SplitfleetError
from splitfleet.pipeline.campaign_run import run_campaign
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.pace import Pace
from splitfleet.pipeline.progress import PlainProgress
pace = Pace(poll_s=0.1, retry_s=0.2, idle_s=1.0, blocked_s=0.5)
settings = FleetSettings(pace=pace, settle_s=3.0, wait_for_phone_s=180.0)
try:
    run_campaign(Path(sys.argv[1]), Path(sys.argv[2]), progress=PlainProgress(Console(width=300)), settings=settings)
except SplitfleetError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Cluster:
    """Two hosts of one cluster. Each has a home folder of its own: its name there, its phones, its ADB key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = folder / "token"
        self.address = ""

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """What is called inside the block is called on that host."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SPLITFLEET_HOME", str(self.folder / host))
            patch.setenv("RAY_AUTH_TOKEN_PATH", str(self.token))
            yield

    def start(self, *addresses: str) -> None:
        with self.on("alpha"):
            self.address = start_cluster("alpha", phones_at(addresses), port=free_port()).cluster

    def join(self, *addresses: str) -> None:
        with self.on("beta"):
            join_cluster(self.address, "beta", phones_at(addresses))

    def record(self, host: str) -> HostRecord | None:
        with self.on(host):
            return load_record(host)

    def leave(self, host: str) -> None:
        if self.record(host):
            with self.on(host):
                leave_cluster(host)

    def processes(self, host: str) -> list[psutil.Process]:
        """The host's Ray node with all that runs on it."""
        record = self.record(host)
        assert record is not None
        keeper = psutil.Process(record.pid)
        return [keeper, *keeper.children(recursive=True)]

    def kill(self, host: str) -> None:
        for process in self.processes(host):
            with suppress(psutil.NoSuchProcess):  # it ended with the one before it
                process.kill()

    def brokers(self, host: str) -> list[psutil.Process]:
        return [process for process in self.processes(host) if "ray::Broker" in " ".join(_words(process))]

    @contextmanager
    def campaign(self, file: Path, folder: Path, host: str = "alpha") -> Iterator[subprocess.Popen[str]]:
        """A campaign of the cluster, in a process of its own."""
        with self.on(host):
            environment = {**os.environ, "SPLITFLEET_CLUSTER": self.address}
        log = (folder.parent / f"{folder.name}.log").open("a")
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(file), str(folder)],
            stdout=log, stderr=log, env=environment, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            log.close()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def phone_a(one_agent: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPhone]:
    with running_phone(tmp_path_factory.mktemp("a") / "phone", PHONE_A) as phone:
        yield phone


@pytest.fixture(scope="module")
def phone_b(one_agent: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPhone]:
    with running_phone(tmp_path_factory.mktemp("b") / "phone", PHONE_B) as phone:
        yield phone


@pytest.fixture(scope="module")
def cluster(phone_a: RunningPhone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose head serves one phone; `beta` joins in the tests."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start(phone_a.address)
    try:
        yield cluster
    finally:
        cluster.leave("beta")
        cluster.leave("alpha")


@pytest.fixture
def two_hosts(cluster: Cluster, phone_b: RunningPhone) -> Cluster:
    """The cluster with both its hosts, and a phone at each."""
    cluster.join(phone_b.address)
    return cluster


def said(folder: Path) -> str:
    return (folder.parent / f"{folder.name}.log").read_text("utf-8")


def results(folder: Path) -> int:
    try:
        return sum(row.done + row.rejected for row in campaign_status(folder).counts)
    except UserError:
        return 0


def ended(process: subprocess.Popen[str], folder: Path, seconds: float = 240) -> None:
    try:
        assert process.wait(timeout=seconds) == 0, said(folder)
    except subprocess.TimeoutExpired:
        raise AssertionError(said(folder)) from None


def assert_complete(folder: Path, classes: int = 2) -> None:
    """Every job of every class has exactly one accepted trace."""
    counts = campaign_status(folder).counts
    assert len(counts) == classes
    assert all(row.done + row.rejected == row.jobs > 0 for row in counts), counts
    traces = read_traces(folder)
    assert len(traces) == sum(row.jobs for row in counts)
    assert not traces.duplicated(["job_id", "purpose"]).any()


def accepted(folder: Path) -> set[str]:
    with Ledger(folder, read_only=True) as ledger:
        return {f"{row['job']} {row['phone']} {row['attempt']} {row['result']}" for row in ledger.accepted()}


def listening(processes: list[psutil.Process]) -> set[str]:
    found = set()
    for process in processes:
        try:
            found |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.NoSuchProcess:
            continue
    return found


@dataclass(frozen=True)
class Joined:
    """A campaign in whose middle a host has joined; `listening_at` are the addresses of all servers then."""

    folder: Path
    listening_at: set[str]


@pytest.fixture(scope="module")
def joined(
    cluster: Cluster, phone_a: RunningPhone, phone_b: RunningPhone, tmp_path_factory: pytest.TempPathFactory
) -> Joined:
    """The first phone's battery is low until the other has measured: the campaign cannot end before it has joined."""
    place = tmp_path_factory.mktemp("joined")
    folder = place / "run"
    with cluster.campaign(write_campaign(place, samples=40, job_us=50_000), folder) as driver:
        assert wait_until(lambda: driver.poll() is not None or results(folder) >= 2), said(folder)
        phone_a.order("battery", level=9, status="discharging", powered_by="none")
        cluster.join(phone_b.address)
        assert wait_until(lambda: driver.poll() is not None or cluster.brokers("beta")), said(folder)
        campaign = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        addresses = listening([*cluster.processes("alpha"), *cluster.processes("beta"), *campaign])
        assert wait_until(lambda: driver.poll() is not None or len(campaign_status(folder).counts) == 2), said(folder)
        phone_a.order("battery", level=100, status="full", powered_by="usb")
        ended(driver, folder)
    return Joined(folder, addresses)


def test_a_host_that_joins_in_the_middle_brings_its_phones(joined: Joined) -> None:
    assert "host beta has joined the cluster" in said(joined.folder)
    assert_complete(joined.folder)
    assert set(read_traces(joined.folder)["phone"]) == {"test-phone-1", "other-phone-1"}


def test_what_listens_and_what_is_told_of_secrets(cluster: Cluster, joined: Joined) -> None:
    addresses, folder = joined.listening_at, joined.folder
    assert addresses, "Ray's servers were not found"
    assert all(ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback for address in addresses), addresses

    secrets = [cluster.token.read_text()]
    for host in ("alpha", "beta"):
        key = cluster.folder / host / "adbkey"
        assert key.stat().st_mode & 0o077 == 0
        assert cluster.token.stat().st_mode & 0o077 == 0
        secrets += [line for line in key.read_text().splitlines() if not line.startswith("-----")]
        secrets.append(key.with_name("adbkey.pub").read_text().split()[0])
    record = cluster.record("alpha"), cluster.record("beta")
    places = [folder.parent, *(Path(each.folder) for each in record if each)]
    may_know = {folder / "phones.json", *folder.glob("journal/*")}
    for path in (path for place in places for path in place.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), f"a key or token in {path}"
        if path not in may_know:
            assert b"serial-of-" not in content, f"a serial in {path}"


def test_a_dead_host_is_named_and_comes_back(two_hosts: Cluster, phone_b: RunningPhone, tmp_path: Path) -> None:
    cluster, folder = two_hosts, tmp_path / "run"
    file = write_campaign(tmp_path, samples=40, job_us=50_000)
    with cluster.campaign(file, folder) as driver:
        assert wait_until(lambda: driver.poll() is not None or results(folder) >= 3), said(folder)
        cluster.kill("beta")
        assert wait_until(lambda: "host beta is gone from the cluster" in said(folder)), said(folder)
        cluster.join(phone_b.address)
        ended(driver, folder)
    text = said(folder)
    assert f"beta/{phone_b.address}  offline  " in text or "other-phone-1  offline  " in text
    assert "host beta is back" in text
    assert_complete(folder)


def test_a_dead_broker_is_started_again_and_a_killed_driver_leaves_none(two_hosts: Cluster, tmp_path: Path) -> None:
    cluster, folder = two_hosts, tmp_path / "run"
    file = write_campaign(tmp_path, samples=40, job_us=50_000)
    with cluster.campaign(file, folder) as driver:
        for count in (3, 9, 15):
            assert wait_until(lambda count=count: driver.poll() is not None or results(folder) >= count), said(folder)
            if count < 15:
                for broker in cluster.brokers("beta"):
                    broker.kill()
        assert driver.poll() is None, said(folder)
        driver.kill()
    before = accepted(folder)
    assert wait_until(lambda: not cluster.brokers("alpha") + cluster.brokers("beta")), "a broker outlives its driver"
    with cluster.campaign(file, folder, host="beta") as driver:
        ended(driver, folder)
    assert before < accepted(folder), "something done before was measured again"
    assert_complete(folder)


def test_a_dead_head_ends_the_campaign_with_a_reason_and_it_goes_on_under_a_new_one(
    two_hosts: Cluster, phone_a: RunningPhone, phone_b: RunningPhone, tmp_path: Path
) -> None:
    cluster, folder = two_hosts, tmp_path / "run"
    file = write_campaign(tmp_path, samples=24, job_us=50_000)
    with cluster.campaign(file, folder, host="beta") as driver:
        assert wait_until(lambda: driver.poll() is not None or results(folder) >= 3), said(folder)
        cluster.kill("alpha")
        assert driver.wait(timeout=240) == 1, said(folder)
    text = said(folder)
    assert "HarnessError: the head of the cluster is gone: nothing answers at" in text
    assert "Traceback" not in text
    before = accepted(folder)
    cluster.leave("beta")
    cluster.start(phone_a.address)
    cluster.join(phone_b.address)
    with cluster.campaign(file, folder, host="beta") as driver:
        ended(driver, folder)
    assert before < accepted(folder), "something done before was measured again"
    assert_complete(folder)


def test_who_has_no_token_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    assert is_refused(cluster.address, None)
    assert is_refused(cluster.address, wrong)
    assert ask(cluster.address, cluster.token).returncode == 0


def test_mistakes_are_told(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster.on("alpha"):
        with pytest.raises(UserError, match=r"host alpha is in the cluster at .* already"):
            start_cluster("alpha", phones_at([]), port=free_port())
        with pytest.raises(UserError, match="host beta-2 is in no cluster; in one are: alpha"):
            leave_cluster("beta-2")
    monkeypatch.setenv("SPLITFLEET_HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with pytest.raises(UserError, match=r"no token for the cluster at .* copy the head's"):
        join_cluster(cluster.address, "gamma", phones_at([]))
    (tmp_path / "cluster-token").write_text("0" * 64)
    (tmp_path / "cluster-token").chmod(0o644)
    with pytest.raises(UserError, match="may be read by others"):
        join_cluster(cluster.address, "gamma", phones_at([]))
    with pytest.raises(UserError, match="nothing answers at"):
        join_cluster(f"127.0.0.1:{free_port()}", "gamma", phones_at([]))
    with pytest.raises(UserError, match="is no cluster's address"):
        join_cluster("here", "gamma", phones_at([]))
    assert not (tmp_path / "hosts").exists()

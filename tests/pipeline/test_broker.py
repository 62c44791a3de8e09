"""A broker without Ray: what it does when its driver is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from splitfleet.pipeline.broker import Broker, BrokerSetup
from splitfleet.pipeline.campaign import Phones
from splitfleet.pipeline.conditions import Conditions
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.messages import (
    BatchStopped,
    BrokerMessage,
    FollowBatch,
    Order,
    PhoneArrived,
    ResultsRead,
    StartBatch,
)

from ..conftest import StartPhone
from ..infra.phones import RunningPhone, wait_until
from .test_phone_worker import SLOW, batches, jobs_for


class Driver:
    """Polls a broker as a driver does."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.incarnation = ""
        self._acknowledged = 0

    def wait_for(self, kind: type[BrokerMessage]) -> BrokerMessage:
        for _ in range(100):
            mail = self.broker.poll(self.incarnation, self._acknowledged, 1.0)
            self.incarnation, self._acknowledged = mail.incarnation, mail.first + len(mail.messages) - 1
            if found := [message for message in mail.messages if isinstance(message, kind)]:
                return found[0]
        raise AssertionError(f"no {kind.__name__}")


@contextmanager
def served(phone: RunningPhone, settings: FleetSettings) -> Iterator[Driver]:
    setup = BrokerSetup(
        Phones(tcp=(phone.address,)),
        Conditions(),
        "mine",
        settings.pace,
        settings.deadlines,
        scan_s=0.1,
        abandoned_s=5.0,
    )
    broker = Broker(setup)
    try:
        yield Driver(broker)
    finally:
        broker.stop()


def serves(phone: RunningPhone) -> bool:
    """Whether a thread of this process serves the phone."""
    return any(thread.name == f"phone {phone.address}" for thread in threading.enumerate())


def begin(driver: Driver, phone: RunningPhone, jobs: int) -> None:
    """A batch of slow jobs is at work, and some of it has been read."""
    arrived = driver.wait_for(PhoneArrived)
    assert isinstance(arrived, PhoneArrived)
    batch = StartBatch.of("mine-1", jobs_for(arrived, jobs, SLOW))
    driver.broker.take_orders(driver.incarnation, (Order(1, phone.address, arrived.session, batch),))
    driver.wait_for(ResultsRead)


def test_a_broker_that_nobody_asks_lets_go_of_its_phones(
    one_agent: None, start_phone: StartPhone, settings: FleetSettings
) -> None:
    """What runs on the phone goes on there, and is taken up by whoever drives next."""
    phone = start_phone()
    with served(phone, settings) as driver:
        begin(driver, phone, 6)
        assert serves(phone)
        assert wait_until(lambda: not serves(phone)), "nobody polls any more"
    assert batches(phone) == ["mine-1"]
    with served(phone, settings) as driver:
        back = driver.wait_for(PhoneArrived)
        assert isinstance(back, PhoneArrived)
        assert back.batches == ("mine-1",)


def test_a_driver_that_comes_back_late_is_served_again(
    one_agent: None, start_phone: StartPhone, settings: FleetSettings
) -> None:
    """Its host had slept, say. What the phone has done meanwhile is there."""
    phone = start_phone()
    with served(phone, settings) as driver:
        begin(driver, phone, 2)
        first = driver.incarnation
        assert wait_until(lambda: not serves(phone))
        back = driver.wait_for(PhoneArrived)
        assert driver.incarnation != first, "so that the driver knows that all phones have to arrive anew"
        assert isinstance(back, PhoneArrived)
        assert back.batches == ("mine-1",)
        follow = Order(1, phone.address, back.session, FollowBatch("mine-1", 0))
        driver.broker.take_orders(driver.incarnation, (follow,))
        driver.wait_for(BatchStopped)
        driver.broker.stop()
        driver.broker.poll(driver.incarnation, 0, 0.1)
        assert not serves(phone), "stopped, not abandoned"

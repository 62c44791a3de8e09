from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from splitfleet.pipeline.mail import Inbox, Outbox
from splitfleet.pipeline.messages import BrokerMessage, HostNote, Mail

_EVENTS = st.lists(st.sampled_from(["put", "answered", "answer lost", "answer late", "restart"]), max_size=60)


@given(_EVENTS)
def test_every_message_of_a_living_broker_comes_once_and_in_order(events: list[str]) -> None:
    """Answers get lost and come late; only what a broker that died had not handed on may be missing."""
    outbox, inbox, incarnation, number = Outbox(), Inbox(), 1, 0
    sent: list[list[int]] = [[]]
    got: list[int] = []
    late: list[Mail] = []

    def poll() -> Mail:
        acknowledged = inbox.acknowledged if inbox.incarnation == str(incarnation) else 0
        first, messages = outbox.take(acknowledged, 0.0)
        return Mail(str(incarnation), "code", first, messages)

    def take(mail: Mail) -> None:
        got.extend(int(message.text) for message in inbox.take(mail) if isinstance(message, HostNote))

    for event in [*events, "answered"]:
        match event:
            case "put":
                number += 1
                sent[-1].append(number)
                outbox.put(HostNote(str(number)))
            case "answered":
                take(poll())
            case "answer lost":
                poll()
            case "answer late":
                late.append(poll())
                if late[0].incarnation == inbox.incarnation:
                    take(late.pop(0))
            case "restart":
                outbox, incarnation = Outbox(), incarnation + 1
                sent.append([])
                late.clear()  # calls to an actor that died are answered by its death
    assert got == sorted(set(got)), "twice, or out of order"
    assert [n for n in got if n in sent[-1]] == sent[-1], "a living broker's message was lost"
    for of_one in sent:
        handed_on = [n for n in got if n in of_one]
        assert handed_on == of_one[: len(handed_on)]


def test_a_poll_waits_for_the_first_message() -> None:
    outbox = Outbox()
    taken: list[tuple[int, tuple[BrokerMessage, ...]]] = []
    thread = threading.Thread(target=lambda: taken.append(outbox.take(0, 30.0)))
    thread.start()
    outbox.put(HostNote("news"))
    thread.join(20)
    assert taken == [(1, (HostNote("news"),))]


def test_many_messages_come_in_several_answers() -> None:
    outbox, inbox, got = Outbox(), Inbox(), 0
    for number in range(1000):
        outbox.put(HostNote(str(number)))
    while new := inbox.take(Mail("one", "code", *outbox.take(inbox.acknowledged, 0.0))):
        got += len(new)
    assert got == 1000

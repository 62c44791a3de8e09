"""The driver's end of a broker that runs as a Ray actor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import HarnessError, SplitfleetError

from .broker import Broker
from .campaign import Phones
from .conditions import Conditions
from .messages import PhoneCommand, PhoneMessage
from .phone_worker import Pace
from .transport import Deadlines

_CALL_S = 30.0
_START_S = 120.0
_MAX_RESTARTS = 3


class RayBroker:
    """Calls a broker actor. It is restarted by Ray when its process dies; phones then arrive anew."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def addresses(self) -> list[str]:
        return list(self._call("addresses", _START_S))

    def poll(self, wait_s: float) -> list[PhoneMessage]:
        return list(self._call("poll", _CALL_S, wait_s))

    def command(self, address: str, session: int, command: PhoneCommand) -> None:
        self._call("command", _CALL_S, address, session, command)

    def stop(self) -> None:
        self._call("stop", _CALL_S)

    def _call(self, method: str, timeout_s: float, *arguments: object) -> Any:
        import ray

        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=timeout_s)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SplitfleetError):
                raise error.cause from None
            raise HarnessError(f"the phone broker failed: {error}") from error
        except ray.exceptions.RayActorError as error:
            if isinstance(error, ray.exceptions.ActorUnavailableError):
                return ()  # it is being started again; a command that is lost with it is given anew on arrival
            raise HarnessError(
                f"the phone broker's process died {_MAX_RESTARTS + 1} times; run the same command again to go on, "
                "and look for memory pressure on this host"
            ) from error
        except ray.exceptions.GetTimeoutError as error:
            raise HarnessError(
                f"the phone broker did not answer {method} within {timeout_s:.0f} s; is this host overloaded? "
                "Run the same command again to go on"
            ) from error


@contextmanager
def ray_broker(
    phones: Phones, conditions: Conditions, local_folder: Path, owner: str, pace: Pace, deadlines: Deadlines
) -> Iterator[RayBroker]:
    """A broker on this host inside the block; Ray must be running."""
    import ray

    # poll waits in one of the actor's threads while commands go through another.
    actor_class = ray.remote(num_cpus=0, max_concurrency=4, max_restarts=_MAX_RESTARTS)(Broker)
    broker = RayBroker(actor_class.remote(phones, conditions, local_folder, owner, pace, deadlines))
    try:
        broker.addresses()
        yield broker
    finally:
        with suppress(HarnessError):  # a broker that is gone is what was wanted
            broker.stop()

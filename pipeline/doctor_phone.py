"""What doctor looks at on one phone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from splitfleet.kernels.errors import SplitfleetError

from .conditions import Conditions
from .findings import Finding, Grade, NamedCheck
from .health import Limits, obstacle
from .phone import Identity, prepare
from .phone_lock import PhoneLock
from .phone_state import PhoneState
from .phone_worker import PhonePlace
from .readings import Readings, read_readings
from .transport import Transport

_DEADLINE_S = 240.0  # the first phone of a kind may wait until an agent is built
_MAX_SKEW_S = 60.0
_FIXED_PERFORMANCE_SDK = 30  # Android's "fixed performance mode": from API 30 on, on phones that have it


def phone_check(place: PhonePlace, conditions: Conditions, limits: Limits | None = None) -> NamedCheck:
    """The check of one phone. It waits for nobody: a phone that another campaign uses is only looked at."""
    return NamedCheck(place.address, "phone", lambda: _look(place, conditions, limits or Limits()), _DEADLINE_S)


def _look(place: PhonePlace, conditions: Conditions, limits: Limits) -> Iterator[Finding]:
    transport = place.connect(lambda: None)
    try:
        identity = place.identify(transport)
        yield Finding(place.address, "authorized", Grade.OK, f"{identity.model}, it accepts this host's key")
        before_s = time.time()
        readings = read_readings(transport)
        yield from _condition(place.address, readings, limits)
        yield _clock(place.address, readings, (before_s + time.time()) / 2)
        if identity.android:
            yield _fixed_performance(place.address, transport, identity)
        yield _agent(place.address, transport, identity, conditions)
    finally:
        transport.close()


def _condition(address: str, readings: Readings, limits: Limits) -> Iterator[Finding]:
    """One line for each thing that was told; what stands against measuring is a problem where a person must act."""
    found = obstacle(readings, limits)
    if found:
        grade = Grade.PROBLEM if found.state.needs_help or found.state is PhoneState.LOW_BATTERY else Grade.WARNING
        yield Finding(address, found.state.value, grade, found.reason)
    if readings.battery_percent is not None and not (found and found.state is PhoneState.LOW_BATTERY):
        grade = Grade.OK if readings.powered else Grade.WARNING
        advice = "" if readings.powered else "; nothing powers it, which a long campaign needs"
        yield Finding(address, "battery", grade, f"{readings.battery_percent} %{advice}")
    if readings.hottest_c is not None and not (found and found.state is PhoneState.COOLING):
        yield Finding(address, "temperature", Grade.OK, f"{readings.hottest_c:.0f} C")
    if readings.free_bytes is not None and not (found and found.state is PhoneState.DISK_FULL):
        yield Finding(address, "disk", Grade.OK, f"{readings.free_bytes >> 20} MiB free")
    if readings.is_awake is not None and not (found and found.state is PhoneState.ASLEEP):
        text = "on" if readings.is_awake else "off; phones measure otherwise then: keep it the same for all of a class"
        yield Finding(address, "screen", Grade.OK, text)


def _clock(address: str, readings: Readings, host_s: float) -> Finding:
    if readings.clock_unix_s is None:
        return Finding(address, "clock", Grade.WARNING, "it tells no time; the traces' start times will be missing")
    skew_s = readings.clock_unix_s - host_s
    if abs(skew_s) <= _MAX_SKEW_S:
        return Finding(address, "clock", Grade.OK, f"within {_MAX_SKEW_S:.0f} s of this host's")
    text = (
        f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this host's; timings do not suffer, start times "
        "in traces do: turn on automatic date and time"
    )
    return Finding(address, "clock", Grade.WARNING, text)


def _fixed_performance(address: str, transport: Transport, identity: Identity) -> Finding:
    """Android takes the mode, but does not tell whether it is on: that is not asked."""
    subject = "fixed-performance mode"
    sdk = identity.android.get("sdk", "")
    if not sdk.isdecimal() or int(sdk) < _FIXED_PERFORMANCE_SDK:
        text = f"Android API {sdk or 'unknown'} has none (from {_FIXED_PERFORMANCE_SDK}); clocks follow load and heat"
        return Finding(address, subject, Grade.WARNING, text)
    governors = " ".join(read_readings(transport).governors) or "unknown"
    text = f"Android API {sdk} may have it: cmd power set-fixed-performance-mode-enabled true; governor {governors}"
    return Finding(address, subject, Grade.OK, text)


def _agent(address: str, transport: Transport, identity: Identity, conditions: Conditions) -> Finding:
    """Agent and OpenCL together: the agent answers with what it has found."""
    lock = PhoneLock(transport, f"doctor{secrets.token_hex(4)}")
    holder = lock.acquire()
    if holder is not None:
        return Finding(address, "agent", Grade.OK, f"not asked, since {holder}")
    try:
        phone = prepare(transport, identity, conditions)
    except SplitfleetError as error:
        return Finding(address, "agent", Grade.PROBLEM, str(error))
    finally:
        lock.release()
    opencl = phone.profile.capabilities["opencl"]
    text = f"answers; OpenCL on {opencl['device']}; device class {phone.profile.device_class}"
    return Finding(address, "agent", Grade.OK, text)

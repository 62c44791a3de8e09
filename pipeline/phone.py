"""A phone made ready: connected, the agent in place and answering, its profile read."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import DeviceError

from .agent_build import agents_folder, build_agent, built_agents
from .agent_info import parse_info
from .agent_targets import TARGETS, host_target
from .conditions import Conditions
from .phone_batch import PhoneBatch, failed_command
from .profile import DeviceProfile, big_core_mask
from .result_lines import printable
from .transport import PhoneUnreachable, Transport

_COMMAND_TIMEOUT_S = 20.0
_INFO_TIMEOUT_S = 60.0
_MAX_CHARACTERS = 1_000_000
_MAX_VALUE = 200


class NoOpenCL(DeviceError):
    """The phone's OpenCL cannot be opened."""


@dataclass(frozen=True)
class Identity:
    """Who the phone says it is. `serial` never leaves the campaign folder."""

    serial: str
    model: str
    soc: str
    abi: str
    isa: str
    android: dict[str, str]


@dataclass(frozen=True)
class Phone:
    """A phone whose agent has answered."""

    transport: Transport
    identity: Identity
    profile: DeviceProfile
    agent: str

    def is_installed(self) -> bool:
        """Whether the agent is there still: a phone that was reset has none."""
        return self.transport.run(f"test -x {self.agent}", _COMMAND_TIMEOUT_S).exit_code == 0

    def batch(
        self, batch_id: str, jobs: frozenset[str] | None = None, max_celsius: float | None = None, bound_us: int = 0
    ) -> PhoneBatch:
        return PhoneBatch(self.transport, self.agent, batch_id, jobs, max_celsius, bound_us)


def identify_android(transport: Transport) -> Identity:
    """Reads the system properties of an Android phone."""
    result = transport.run("getprop", _COMMAND_TIMEOUT_S)
    if result.exit_code:
        raise failed_command(transport, "getprop", result.stdout)
    found = properties(result.stdout)
    if found.get("sys.boot_completed", "1") != "1":
        raise PhoneUnreachable(f"{transport.name}: it is still starting; waits until it is up")
    serial = found.get("ro.serialno") or found.get("ro.boot.serialno")
    if not serial:
        raise DeviceError(
            f"{transport.name}: it tells no serial number (ro.serialno), so it cannot be told from others; restart it, "
            "or leave it out"
        )
    return Identity(
        serial=serial,
        model=found.get("ro.product.model") or "unknown",
        soc=found.get("ro.soc.model") or found.get("ro.board.platform") or found.get("ro.hardware") or "unknown",
        abi=found.get("ro.product.cpu.abi") or "unknown",
        isa=found.get("ro.splitfleet.isa") or "native",
        android={
            "release": found.get("ro.build.version.release", ""),
            "sdk": found.get("ro.build.version.sdk", ""),
            "build": found.get("ro.build.fingerprint") or found.get("ro.build.id", ""),
        },
    )


def properties(text: str) -> dict[str, str]:
    """The lines `[name]: [value]` of getprop; values are cut and made printable: they reach screens and files."""
    found = re.findall(r"^\[([^\]\n]{1,200})\]: \[([^\]\n]*)\]\r?$", text[:_MAX_CHARACTERS], re.MULTILINE)
    return {name: printable(value)[:_MAX_VALUE] for name, value in found}


def identify_host() -> Identity:
    """This host as a device."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (match := re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)):
        cpu = match.group(1)
    serial = f"local-{platform.node()}"
    return Identity(serial, f"Local {platform.machine()}", cpu, host_target().abi, "native", {})


def prepare(transport: Transport, identity: Identity, conditions: Conditions | None = None) -> Phone:
    """Puts the agent on the device unless it is there, and asks it for the device's capabilities.

    Raises NoOpenCL, PhoneStorageFull, another DeviceError where no agent fits or the phone cannot do what the
    conditions ask for, HarnessError where no agent can be built.
    """
    agent = _install_agent(transport, _agent_for(identity, transport.name))
    capabilities = _ask_agent(transport, agent)
    if capabilities["opencl"] is None:
        raise NoOpenCL(
            f"{transport.name}: {identity.model} has no usable OpenCL: {capabilities.get('opencl_error')}; "
            "take it out of the campaign, or install its vendor's driver"
        )
    conditions = conditions or Conditions()
    who = f"{transport.name} ({identity.model})"
    conditions.check(capabilities, who)
    mask = big_core_mask(_usable_cores(capabilities, identity))
    profile = DeviceProfile(
        identity.model,
        identity.soc,
        identity.abi,
        identity.android,
        capabilities,
        mask,
        replace(conditions, tunings=None),
    )
    tuning = conditions.tuning_of(profile.device_class, who)
    return Phone(transport, identity, replace(profile, tuning=tuning), agent)


def _agent_for(identity: Identity, name: str) -> Path:
    """The agent's binary for this device: the one that the environment names, else one built here.

    An agent for this host's own kind of system is built now, others are taken from those built before: a cross
    compiler or an NDK is the user's to name.
    """
    variable = "SPLITFLEET_AGENT_" + re.sub(r"[^A-Za-z0-9]", "_", identity.abi).upper()
    if given := os.environ.get(variable):
        if not Path(given).is_file():
            raise DeviceError(f"{name}: {variable} names {given}, and there is no such file; correct it or unset it")
        return Path(given)
    target = TARGETS.get(identity.abi)
    if target is None:
        raise DeviceError(
            f"{name}: {identity.model} has ABI {identity.abi}, and agents are made for {', '.join(TARGETS)} only: "
            f"take it out of the campaign, or set {variable} to an agent that you built for it"
        )
    if target.is_host:
        return build_agent(isa=identity.isa, build_root=agents_folder())
    for agent in built_agents(agents_folder()):
        if agent.abi == target.abi and agent.is_current:
            return agent.path
    raise DeviceError(
        f"{name}: {identity.model} has ABI {identity.abi}, and no agent of this version is built for it: "
        f"splitfleet agent build --abi {target.abi}{' --ndk FOLDER' if target.is_android else ''}, "
        "then run the command again"
    )


def _install_agent(transport: Transport, binary: Path) -> str:
    content = binary.read_bytes()
    digest = sha256(content).hexdigest()
    remote = f"{transport.folder}/agent-{digest[:16]}"
    # mkdir is part of the question: this is the first command on a phone that has never been used.
    answer = transport.run(
        f"mkdir -p {transport.folder}/batches && sha256sum {remote} 2>/dev/null || true", _COMMAND_TIMEOUT_S
    )
    if digest in answer.stdout:
        return remote
    transport.push(content, f"{remote}.new", mode=0o755)
    moved = transport.run(f"mv {remote}.new {remote}", _COMMAND_TIMEOUT_S)
    if moved.exit_code:
        raise failed_command(transport, "mv", moved.stdout)
    return remote


def _ask_agent(transport: Transport, agent: str) -> dict[str, Any]:
    result = transport.run(f"cd {transport.folder} && {agent} info", _INFO_TIMEOUT_S)
    if "{" not in result.stdout:
        raise DeviceError(
            f"{transport.name}: the agent does not run there (exit code {result.exit_code}): "
            f"{printable(result.stdout.strip()[-300:])}; was it built for this phone's ABI?"
        )
    try:
        return parse_info(result.stdout)
    except ValueError as error:
        raise DeviceError(
            f"{transport.name}: the agent says of its device what cannot be: {printable(str(error))[:200]}; restart "
            f"the phone, or remove {transport.folder} there and run the command again"
        ) from None


def _usable_cores(capabilities: dict[str, Any], identity: Identity) -> list[dict[str, Any]]:
    """The device's cores; on this host PoCL computes on core 0, which then is the GPU's."""
    cores: list[dict[str, Any]] = capabilities["cpu"]["cores"]
    is_pocl = capabilities["opencl"]["platform"] == "Portable Computing Language"
    if identity.serial.startswith("local-") and is_pocl and len(cores) > 1:
        return [core for core in cores if core["id"] != 0]
    return cores

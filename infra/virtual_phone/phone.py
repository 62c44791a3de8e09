"""The phone itself: its listener, its services, its programs and its faults."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
from pathlib import Path

from splitfleet.kernels.errors import UserError

from . import android, sensors
from .agent_faults import AgentFaults
from .auth import KeyStore
from .clock import Clock
from .connection import Connection, Service, Stream
from .control import Answer, Clear, Mailbox, Order, reply
from .description import Description
from .environment import program_environment
from .faults import (
    Agent,
    ClockJump,
    DiskFull,
    Drop,
    Fault,
    Kernel,
    Link,
    Reboot,
    Showing,
    Stall,
    Temperature,
    Unauthorized,
    Vanish,
    Wipe,
)
from .kernel_faults import KernelFaults
from .listener import Listener
from .paths import PhonePaths
from .processes import Processes
from .prompt import Authority
from .shell import ShellService, parse_request
from .storage import Storage
from .sync import SyncService

_LOGGER = logging.getLogger(__name__)
_ABI_OF_MACHINE = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}


class Phone:
    """One virtual phone. It belongs to the main thread of a process that does nothing else."""

    def __init__(self, description: Description, root: Path, port: int) -> None:
        """Prepares the folder and takes the port (0: any free one). Raises UserError for what cannot be had."""
        _check_machine(description)
        root.mkdir(parents=True, exist_ok=True)
        self._description = description
        self._paths = PhonePaths(root)
        self._mailbox = Mailbox(self._paths.root)
        isa = android.offered_isa(description.cpu.isa)
        if isa != description.cpu.isa:
            _LOGGER.warning("this machine offers %s, not %s: so does the phone", isa, description.cpu.isa)
        android.furnish(self._paths.root, description, isa)
        self._banner = android.banner(android.properties(description, isa))
        self._clock = Clock(self._paths.root) if description.adjustable_clock else None
        self._environment = program_environment(description, self._paths.root, self._clock)
        self._storage = Storage(self._paths.root, description.storage.free_bytes)
        keys = KeyStore(self._paths.root / "data/misc/adb/adb_keys")
        self._authority = Authority(description.authorize, keys)
        self._link = Link()
        self._kernel_faults = KernelFaults()
        self._agent_faults = AgentFaults()
        self._listener = Listener(port, self._connection)
        self._absence: asyncio.Task[None] | None = None
        android.show_disk_full(self._paths.root, False)

    @property
    def address(self) -> str:
        """Where hosts connect."""
        return self._listener.address

    async def run(self, ready_file: Path | None) -> None:
        """Prints the address when ready; serves until SIGTERM or SIGINT, then ends every program."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        self._processes = Processes()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._take_orders)
        try:
            await self._listener.appear()
            for fault in self._description.faults:
                self._inflict_later(fault)
            self._announce(ready_file)
            await stop.wait()
        finally:
            if self._absence:
                self._absence.cancel()
            self._agent_faults.clear()
            await self._listener.close()
            self._processes.end_all()
            self._mailbox.close()

    def _announce(self, ready_file: Path | None) -> None:
        print(f"{self._description.model} ({self._description.serial}) is ready at {self.address}", flush=True)
        if ready_file is not None:
            unfinished = ready_file.with_name(f"{ready_file.name}.new")
            unfinished.write_text(f"{self.address}\n")
            unfinished.replace(ready_file)

    def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection:
        return Connection(
            reader,
            writer,
            banner=self._banner,
            authority=self._authority,
            link=self._link,
            open_service=self._service,
        )

    def _service(self, name: str) -> Service | None:
        if name == "sync:":
            return self._serve_sync
        request = parse_request(name)
        if request is None:
            return None
        return lambda stream: ShellService(
            stream,
            request,
            paths=self._paths,
            storage=self._storage,
            processes=self._processes,
            environment=self._environment,
        ).serve()

    async def _serve_sync(self, stream: Stream) -> None:
        await SyncService(stream, self._paths, self._storage, self._kernel_faults).serve()

    def _take_orders(self) -> None:
        for order, reply_file in self._mailbox.take():
            _LOGGER.info("order: %s", order)
            reply(reply_file, self._obey(order))

    def _obey(self, order: Order) -> str:
        """Carries out an order; returns what to tell whoever gave it."""
        if isinstance(order, Answer):
            answered = self._authority.answer(allow=order.allow)
            return f"answered for {', '.join(answered)}" if answered else "no prompt is open"
        if isinstance(order, Clear):
            self._clear()
            return "no fault is left"
        if isinstance(order, ClockJump) and self._clock is None:
            return "this phone's clock cannot be set: its description must say adjustable_clock = true"
        if isinstance(order, Temperature) and not sensors.has_zone(self._paths.root, order.zone):
            return f"there is no thermal zone {order.zone!r}"
        self._inflict_later(order)
        return f"{order.kind}: ordered"

    def _clear(self) -> None:
        self._link.mend()
        self._kernel_faults.clear()
        self._agent_faults.clear()
        self._set_disk_full(False)
        sensors.forget_thermal_status(self._paths.root)
        self._authority.restore()
        self._end_absence()

    def _inflict_later(self, fault: Fault) -> None:
        if fault.after_seconds:
            asyncio.get_running_loop().call_later(fault.after_seconds, self._inflict, fault)
        else:
            self._inflict(fault)

    def _inflict(self, fault: Fault) -> None:
        match fault:
            case Drop():
                self._link.drop_after(fault.bytes, fault.service)
            case Stall():
                self._link.stall(fault.seconds)
            case Vanish():
                self._begin_absence(fault.seconds)
            case Unauthorized():
                self._authority.revoke()
                self._listener.break_connections()
            case Kernel():
                self._kernel_faults.order(fault)
            case DiskFull():
                self._set_disk_full(True)
            case Agent():
                self._agent_faults.order(fault)
            case ClockJump():
                if self._clock:
                    self._clock.jump(fault.seconds)
            case Reboot() | Wipe():
                self._restart(fault.seconds, wipe=isinstance(fault, Wipe))
            case _:
                self._show(fault)

    def _show(self, fault: Showing) -> None:
        sensors.show(self._paths.root, fault)

    def _restart(self, seconds: float, *, wipe: bool) -> None:
        """Away at once, with nothing running; back after so many seconds."""
        self._begin_absence(seconds)
        self._processes.end_programs()
        android.boot(self._paths.root)
        if wipe:
            android.wipe(self._paths.root)
            self._authority.forget_all()

    def _begin_absence(self, seconds: float) -> None:
        if self._absence:
            self._absence.cancel()
        self._listener.disappear()
        self._absence = asyncio.create_task(self._return_after(seconds))

    def _end_absence(self) -> None:
        if self._absence:
            self._absence.cancel()
            self._absence = asyncio.create_task(self._return_after(0))

    async def _return_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listener.appear()

    def _set_disk_full(self, full: bool) -> None:
        self._storage.broken_full = full
        self._processes.allow_writing(not full)
        android.show_disk_full(self._paths.root, full)


def _check_machine(description: Description) -> None:
    """A phone runs this machine's programs on this machine's cores. Raises UserError when it describes others."""
    abi = _ABI_OF_MACHINE.get(platform.machine(), platform.machine())
    if description.abi != abi:
        raise UserError(f"abi is {description.abi!r}, but this machine runs {abi!r}: the phone has to say the same")
    count = os.cpu_count() or 1
    missing = [str(core) for core in description.cpu.cores if core >= count]
    if missing:
        raise UserError(f"cpu.cores names CPU {', '.join(missing)}; this machine has {count}, counted from 0")

"""Faults of the phone, switched on in its description and while it runs."""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from adb_shell.auth.sign_cryptography import CryptographySigner
from adb_shell.exceptions import PushFailedError, TcpTimeoutException

from splitfleet.infra.virtual_phone.control import ORDERS, give_order
from splitfleet.kernels.errors import UserError

from ..conftest import StartPhone
from .hosts import host, shell
from .phones import PHONE, RunningPhone, wait_until

FILE = "/data/local/tmp/file"
NO_SPACE = "No space left on device"


def connects(phone: RunningPhone, key: CryptographySigner) -> bool:
    try:
        with host(phone, key):
            return True
    except OSError:
        return False


def listens(phone: RunningPhone) -> bool:
    try:
        socket.create_connection(("127.0.0.1", phone.port), timeout=5).close()
    except OSError:
        return False
    return True


def is_answered(phone: RunningPhone) -> bool:
    """Confirms the prompt, if one is open by now."""
    return "answered" in phone.order("answer", allow=True)


def test_the_link_drops_once_after_so_many_bytes(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        phone.order("drop", bytes=500_000)
        device.push(io.BytesIO(bytes(100_000)), FILE)
        with pytest.raises(Exception, match=r"reset|Broken pipe|Timeout|timed out"):
            device.push(io.BytesIO(bytes(1_000_000)), FILE, read_timeout_s=0.5)
    with host(phone, key) as device:
        device.push(io.BytesIO(bytes(1_000_000)), FILE)
        assert device.stat(FILE)[1] == 1_000_000


def test_a_stalled_link_stays_open_and_programs_go_on(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        device.shell(f"setsid nohup sh -c 'sleep 1.5; date +%s%N > {FILE}' >/dev/null 2>&1 </dev/null & sleep 1")
        phone.order("stall", seconds=1)
        begun = time.time_ns()
        assert device.shell("echo late", read_timeout_s=10) == "late\n"
        ended = time.time_ns()
        written = int(device.shell(f"cat {FILE}"))
    assert ended - begun > 0.5e9
    assert written < ended


def test_a_vanished_phone_returns_on_the_same_port_and_worked_on(
    start_phone: StartPhone, key: CryptographySigner
) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        device.shell(f"setsid nohup sh -c 'sleep 2; echo done > {FILE}' >/dev/null 2>&1 </dev/null & sleep 1")
        phone.order("vanish", seconds=600)
        assert not connects(phone, key)
        assert wait_until((phone.root / FILE[1:]).exists)
        assert not connects(phone, key)
        phone.order("vanish", seconds=0.5)
    assert wait_until(lambda: connects(phone, key))
    with host(phone, key) as device:
        assert device.shell(f"cat {FILE}") == "done\n"


def test_an_unauthorized_host_stays_so(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    with host(phone, key):
        pass
    phone.order("unauthorized")
    with pytest.raises(TcpTimeoutException), host(phone, key, auth_timeout_s=0.3):
        pass


def test_a_full_disk_takes_neither_pushes_nor_output(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone(PHONE + "[storage]\nfree_bytes = 1_000_000\n")
    with host(phone, key) as device:
        device.push(io.BytesIO(bytes(600_000)), FILE)
        with pytest.raises(PushFailedError, match=NO_SPACE):
            device.push(io.BytesIO(bytes(600_000)), f"{FILE}2")
        assert device.stat(f"{FILE}2") == (0, 0, 0)
        device.push(io.BytesIO(bytes(400_000)), f"{FILE}2")
        output, code = shell(device, f"date > {FILE}3")
        assert NO_SPACE in output
        assert code != 0
        assert device.shell("df /data").splitlines()[1].split()[3] == "0"
        assert shell(device, f"cp {FILE} {FILE}3")[1] != 0
        device.shell(f"rm {FILE}*")
        device.push(io.BytesIO(bytes(900_000)), FILE)


def test_a_running_program_feels_the_full_disk(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    writer = f"while sleep 0.02; do date >> {FILE} || touch {FILE}.failed; done"
    with host(phone, key) as device:
        device.push(io.BytesIO(writer.replace("/data", f"{phone.root}/data").encode()), "/data/local/tmp/writer")
        device.shell("setsid nohup sh /data/local/tmp/writer >/dev/null 2>&1 </dev/null & sleep 1")
        assert device.stat(f"{FILE}.failed")[0] == 0
        phone.order("disk-full")
        assert wait_until(lambda: device.stat(f"{FILE}.failed")[0] != 0)
        with pytest.raises(PushFailedError, match=NO_SPACE):
            device.push(io.BytesIO(b"x"), f"{FILE}2")
        phone.order("clear")
        size = device.stat(FILE)[1]
        assert wait_until(lambda: device.stat(FILE)[1] > size)
        device.push(io.BytesIO(b"x"), f"{FILE}2")


def test_a_command_at_work_says_that_the_disk_is_full(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    begun = phone.root / f"{FILE[1:]}.begun"
    copying = f"touch {FILE}.begun; while [ -e {FILE}.begun ]; do sleep 0.02; done; cat {FILE} >{FILE}2"
    with host(phone, key) as device, ThreadPoolExecutor() as pool:
        device.push(io.BytesIO(b"x"), FILE)
        copied = pool.submit(shell, device, copying)
        assert wait_until(begun.exists)
        phone.order("disk-full")
        begun.unlink()
        output, code = copied.result(120)
    assert NO_SPACE in output
    assert code != 0


def test_heat_shows_wherever_android_shows_it(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    assert "no thermal zone" in phone.order("temperature", millidegrees=50_000, zone="moon")
    phone.order("temperature", millidegrees=55_500, zone="gpu")
    with host(phone, key) as device:
        assert sorted(device.shell("cat /sys/class/thermal/*/temp").split()) == ["31000", "31000", "55500"]
        status = device.shell("dumpsys thermalservice")
    assert "Thermal Status: 2\n" in status
    assert "mValue=55.5, mType=0, mName=gpu, mStatus=2" in status


def test_the_thermal_status_alone_can_rise(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    phone.order("thermal-status", status=3)
    with host(phone, key) as device:
        assert "Thermal Status: 3\n" in device.shell("dumpsys thermalservice")
        assert set(device.shell("cat /sys/class/thermal/*/temp").split()) == {"31000"}
        phone.order("clear")
        assert "Thermal Status: 0\n" in device.shell("dumpsys thermalservice")


def test_battery_screen_and_load_show_wherever_android_shows_them(
    start_phone: StartPhone, key: CryptographySigner
) -> None:
    phone = start_phone()
    phone.order("battery", level=12, status="discharging", powered_by="none")
    phone.order("screen", on=False)
    phone.order("load", load=3.5)
    with host(phone, key) as device:
        battery = device.shell("dumpsys battery")
        assert "level: 12\n" in battery
        assert "status: 3\n" in battery
        assert "USB powered: false\n" in battery
        assert "temperature: 270\n" in battery, "what is not ordered stays"
        assert device.shell("cat /sys/class/power_supply/battery/capacity") == "12\n"
        assert "mWakefulness=Asleep\n" in device.shell("dumpsys power")
        assert "mScreenState=OFF\n" in device.shell("dumpsys display")
        assert device.shell("cat /proc/loadavg").startswith("3.50 3.50 3.50 ")
        phone.order("screen", on=True)
        assert "mWakefulness=Awake\n" in device.shell("dumpsys power")


@pytest.mark.parametrize("kind", ["reboot", "wipe"])
def test_a_phone_that_restarts(kind: str, start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    with host(phone, key) as device:
        before = device.shell(boot_id)
        device.push(io.BytesIO(b"x"), FILE)
        device.shell("cmd power set-fixed-performance-mode-enabled true")
        program = int(device.shell("setsid nohup sleep 600 >/dev/null 2>&1 </dev/null & echo $!; sleep 1"))
        assert psutil.pid_exists(program)
        phone.order(kind, seconds=5)
        with pytest.raises(Exception, match=r"reset|Broken pipe|Timeout|timed out"):
            device.shell("true", read_timeout_s=0.5)
    assert not connects(phone, key)
    assert wait_until(lambda: connects(phone, key))
    with host(phone, key) as device:
        assert device.shell(boot_id) != before
        assert not psutil.pid_exists(program), "programs end with a restart"
        assert (device.stat(FILE)[1] == 1) == (kind == "reboot")
    assert not (phone.root / ".phone/fixed-performance-mode").exists()


def test_a_wiped_phone_knows_no_host(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone(PHONE.replace('"always"', '"ask"'))
    with pytest.raises(TcpTimeoutException), host(phone, key, auth_timeout_s=0.3):
        pass
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            answer = threading.Timer(0.2, lambda: wait_until(lambda: "answered" in phone.order("answer", allow=True)))
            answer.start()
            stack.callback(answer.join)
            stack.enter_context(host(phone, key, auth_timeout_s=10))
        phone.order("reboot", seconds=0.2)
        assert wait_until(lambda: connects(phone, key)), "a reboot forgets nobody"
        phone.order("wipe", seconds=0.2)
        assert wait_until(lambda: listens(phone))
        with pytest.raises(TcpTimeoutException), host(phone, key, auth_timeout_s=0.3):
            pass


def test_the_link_drops_within_one_service(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        phone.order("drop", bytes=3000, service="exec")
        device.push(io.BytesIO(bytes(100_000)), FILE)
        assert len(device.shell(f"head -c 50000 {FILE}", decode=False)) == 50_000
        assert len(device.exec_out(f"head -c 1000 {FILE}", decode=False)) == 1000
        with pytest.raises(Exception, match=r"reset|Broken pipe|Timeout|timed out"):
            device.exec_out(f"head -c 5000 {FILE}", decode=False, read_timeout_s=0.5)
    with host(phone, key) as device:
        assert len(device.exec_out(f"head -c 5000 {FILE}", decode=False)) == 5000


def test_faults_of_the_description(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone(
        PHONE
        + """
        [[faults]]
        kind = "vanish"
        seconds = 0.5
        [[faults]]
        kind = "disk-full"
        """
    )
    assert wait_until(lambda: connects(phone, key))
    with host(phone, key) as device, pytest.raises(PushFailedError, match=NO_SPACE):
        device.push(io.BytesIO(b"x"), FILE)


def test_the_command_line_gives_faults(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    command = [sys.executable, "-m", "splitfleet.infra.virtual_phone", "fault", str(phone.root)]
    done = subprocess.run([*command, "vanish", "--seconds", "600"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "vanish: ordered\n")
    assert not connects(phone, key)
    wrong = subprocess.run([*command, "vanish"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "seconds: Field required" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    phone.order("clear")
    assert wait_until(lambda: connects(phone, key))


def test_no_phone_runs_there(start_phone: StartPhone) -> None:
    phone = start_phone()
    phone.process.terminate()
    phone.process.wait()
    with pytest.raises(UserError, match="no virtual phone is running"):
        give_order(phone.root, ORDERS.validate_python({"kind": "clear"}))
    with pytest.raises(UserError, match="is no virtual phone's folder"):
        give_order(phone.root / "data", ORDERS.validate_python({"kind": "clear"}))

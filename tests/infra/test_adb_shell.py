"""The Python package adb-shell, as it is, against a virtual phone."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from pathlib import Path

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.sign_cryptography import CryptographySigner
from adb_shell.exceptions import AdbCommandFailureException, DeviceAuthError, PushFailedError, TcpTimeoutException

from splitfleet.infra.virtual_phone.auth import HostKey

from ..conftest import StartPhone
from .hosts import host, make_key, shell
from .phones import PHONE, RunningPhone, running_phone, wait_until

FOLDER = "/data/local/tmp"


def test_shell_gives_output_and_exit_code(device: AdbDeviceTcp) -> None:
    assert shell(device, "echo out; echo err >&2; (exit 7)") == ("out\nerr\n", 7)
    assert shell(device, "true") == ("", 0)


def test_the_shell_is_in_the_phone_and_has_its_environment(device: AdbDeviceTcp, phone: RunningPhone) -> None:
    assert shell(device, f"echo kept > {FOLDER}/f && cat {FOLDER}/f && rm {FOLDER}/f") == ("kept\n", 0)
    root = str(phone.root)
    assert device.shell('echo "$HOME $SPLITFLEET_SYSROOT"; pwd').split() == [root, root, root]


def test_phones_share_what_pocl_has_compiled_where_they_are_told_to(key: CryptographySigner, tmp_path: Path) -> None:
    for shared, expected in ((tmp_path / "shared", tmp_path / "shared"), (None, tmp_path / "phone/root")):
        with running_phone(tmp_path / "phone", pocl_cache=shared) as phone, host(phone, key) as device:
            assert Path(device.shell('echo "$POCL_CACHE_DIR"').strip()).is_relative_to(expected)


def test_output_longer_than_a_packet(device: AdbDeviceTcp) -> None:
    output, code = shell(device, "seq 300000")
    assert code == 0
    assert output.splitlines() == [str(number) for number in range(1, 300_001)]


def test_push_and_pull_keep_every_byte(device: AdbDeviceTcp) -> None:
    content = random.Random(1).randbytes(3_000_001)
    device.push(io.BytesIO(content), f"{FOLDER}/new/folder/file", mtime=1_700_000_000)
    assert device.shell(f"sha256sum {FOLDER}/new/folder/file").split()[0] == hashlib.sha256(content).hexdigest()
    mode, size, modified = device.stat(f"{FOLDER}/new/folder/file")
    assert (mode & 0o700, size, modified) == (0o700, len(content), 1_700_000_000)
    pulled = io.BytesIO()
    device.pull(f"{FOLDER}/new/folder/file", pulled)
    assert pulled.getvalue() == content


def test_a_program_may_be_replaced_while_it_runs(device: AdbDeviceTcp) -> None:
    script = b"#!/bin/sh\necho first\n"
    device.push(io.BytesIO(script), f"{FOLDER}/program", st_mode=0o100755)
    assert shell(device, f"{FOLDER}/program") == ("first\n", 0)
    device.push(io.BytesIO(script.replace(b"first", b"second")), f"{FOLDER}/program", st_mode=0o100755)
    assert shell(device, f"{FOLDER}/program") == ("second\n", 0)


def test_list_and_stat_of_what_is_there_and_what_is_not(device: AdbDeviceTcp) -> None:
    device.shell(f"mkdir -p {FOLDER}/listed && echo 12345 > {FOLDER}/listed/file")
    assert [(bytes(entry.filename), entry.size) for entry in device.list(f"{FOLDER}/listed")] == [(b"file", 6)]
    assert device.list(f"{FOLDER}/missing") == []
    assert device.stat(f"{FOLDER}/missing") == (0, 0, 0)
    with pytest.raises(AdbCommandFailureException, match="No such file or directory"):
        device.pull(f"{FOLDER}/missing", io.BytesIO())


@pytest.mark.parametrize("path", ["/etc/file", f"{FOLDER}/../../../etc/file", "/data/file", f"{FOLDER}/way-out/file"])
def test_push_reaches_no_other_place(device: AdbDeviceTcp, path: str) -> None:
    device.shell(f"ln -sfn /tmp {FOLDER}/way-out")
    with pytest.raises(PushFailedError, match="Permission denied"):
        device.push(io.BytesIO(b"x"), path)


def test_pull_reaches_no_other_place(device: AdbDeviceTcp) -> None:
    device.shell(f"ln -sfn /etc/hostname {FOLDER}/outside")
    with pytest.raises(AdbCommandFailureException, match="Permission denied"):
        device.pull(f"{FOLDER}/outside", io.BytesIO())


def test_an_unknown_service_is_refused(device: AdbDeviceTcp) -> None:
    with pytest.raises(Exception, match=r"expected responses|timed out|Timeout"):
        device._service(b"reboot", b"bootloader", 0.3, 0.3)
    assert shell(device, "echo still here") == ("still here\n", 0)


def test_hosts_work_at_the_same_time(phone: RunningPhone, key: CryptographySigner) -> None:
    answers: dict[int, str] = {}

    def work(number: int) -> None:
        with host(phone, key) as device:
            answers[number] = "".join(device.shell(f"echo {number}.{step}") for step in range(5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: "".join(f"{number}.{step}\n" for step in range(5)) for number in range(4)}


def test_what_android_answers(device: AdbDeviceTcp) -> None:
    assert device.shell("getprop ro.product.model") == "Test Phone\n"
    assert "[ro.product.cpu.abi]: [x86_64]\n" in device.shell("getprop")
    assert device.shell("getprop no.such.property") == "\n"
    assert "  level: 100\n" in device.shell("dumpsys battery")
    assert "Thermal Status: 0\n" in device.shell("dumpsys thermalservice")
    assert device.shell("cat /sys/class/thermal/thermal_zone*/temp").split() == ["31000"] * 3
    assert device.shell("cat /sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq") == "2000000\n"
    assert shell(device, "settings put global stay_on 3 && settings get global stay_on") == ("3\n", 0)
    assert device.shell("settings get global never_put") == "null\n"
    assert shell(device, "cmd power set-fixed-performance-mode-enabled true") == ("", 0)
    assert shell(device, "cmd power set-fixed-performance-mode-enabled perhaps")[1] != 0
    assert shell(device, "dumpsys no_such_service")[1] != 0


def test_without_a_key_there_is_no_connection(phone: RunningPhone) -> None:
    with pytest.raises(DeviceAuthError), host(phone):
        pass


def test_a_denied_key_hears_nothing(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone(PHONE.replace('"always"', '"never"'))
    with pytest.raises(TcpTimeoutException), host(phone, key, auth_timeout_s=0.3):
        pass


def test_the_prompt_waits_for_an_answer_and_the_key_is_remembered(
    start_phone: StartPhone, key: CryptographySigner, tmp_path: Path
) -> None:
    phone = start_phone(PHONE.replace('"always"', '"ask"'))
    with pytest.raises(TcpTimeoutException), host(phone, key, auth_timeout_s=0.3):
        pass
    assert wait_until(lambda: phone.order("answer", allow=True) == "no prompt is open")
    accept = threading.Timer(0.5, lambda: wait_until(lambda: "answered" in phone.order("answer", allow=True)))
    accept.start()
    with host(phone, key, auth_timeout_s=10) as device:
        assert device.shell("echo in") == "in\n"
    accept.join()
    phone.process.terminate()
    phone.process.wait()
    again = start_phone(PHONE.replace('"always"', '"never"'))
    with host(again, make_key(tmp_path), key, auth_timeout_s=0.3) as device:  # one known key of several is enough
        assert device.shell("echo known") == "known\n"


def test_only_listed_fingerprints_are_accepted(
    start_phone: StartPhone, key: CryptographySigner, tmp_path: Path
) -> None:
    fingerprint = HostKey(key.GetPublicKey().decode()).fingerprint
    phone = start_phone(PHONE.replace('"always"', f'["{fingerprint}"]'))
    with host(phone, key) as device:
        assert device.shell("echo in") == "in\n"
    with pytest.raises(TcpTimeoutException), host(phone, make_key(tmp_path), auth_timeout_s=0.3):
        pass

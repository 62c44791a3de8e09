"""Debian's adb, as it is, against a virtual phone: the virtual phone is no private protocol."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..ports import free_port
from .phones import RunningPhone

ADB = shutil.which("adb")
Adb = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.peer, pytest.mark.skipif(ADB is None, reason="Debian's adb is not installed")]


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory, phone: RunningPhone) -> Iterator[Adb]:
    """Runs adb with a server and a key of its own, connected to the module's phone."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        "HOME": str(home),
        "ANDROID_SDK_HOME": str(home),
        "ANDROID_ADB_SERVER_PORT": str(free_port()),
        "TMPDIR": str(home),
    }

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(ADB), *arguments]
        return subprocess.run(command, env=environment, text=True, timeout=180, stdout=-1, stderr=-1, **options)  # type: ignore[call-overload, no-any-return]

    try:
        run("connect", phone.address)
        run("wait-for-device")
        yield run
    finally:
        run("kill-server")


def test_devices(adb: Adb, phone: RunningPhone) -> None:
    listing = adb("devices", "-l").stdout
    assert re.search(rf"^{phone.address}\s+device product:test_phone model:Test_Phone device:test_phone", listing, re.M)


def test_shell_with_exit_code_and_split_output(adb: Adb) -> None:
    done = adb("shell", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_shell_ended_by_a_signal(adb: Adb) -> None:
    assert adb("shell", "kill -9 $$").returncode == 128 + 9


def test_input_reaches_the_program(adb: Adb) -> None:
    text = "".join(f"line {number}\n" for number in range(50_000))
    assert adb("shell", "cat", input=text).stdout == text


def test_a_terminal(adb: Adb) -> None:
    done = adb("shell", "-tt", input="tty && exit 5\n")
    assert "/dev/pts/" in done.stdout
    assert done.returncode == 5


def test_exec_out_changes_no_byte(adb: Adb) -> None:
    assert adb("exec-out", r"printf 'a\r\nb\n'").stdout == "a\nb\n"  # text mode here reads \r\n as \n


def test_push_and_pull_of_20_mb(adb: Adb, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(20_000_000)
    (tmp_path / "sent").write_bytes(content)
    assert adb("push", str(tmp_path / "sent"), "/data/local/tmp/").returncode == 0
    assert adb("pull", "/data/local/tmp/sent", str(tmp_path / "received")).returncode == 0
    assert (tmp_path / "received").read_bytes() == content


def test_push_and_pull_of_a_folder(adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/file").write_text("1")
    (tmp_path / "tree/below/file").write_text("2")
    (tmp_path / "tree/link").symlink_to("file")
    assert adb("push", str(tmp_path / "tree"), "/data/local/tmp/").returncode == 0
    assert adb("shell", "cd /data/local/tmp/tree && cat file below/file link && readlink link").stdout == "121file\n"
    assert adb("pull", "/data/local/tmp/tree", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back/below/file").read_text() == "2"


def test_failures_are_named(adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    pushed = adb("push", str(tmp_path / "file"), "/system/file")
    assert pushed.returncode != 0
    assert "Permission denied" in pushed.stderr + pushed.stdout
    assert adb("pull", "/data/local/tmp/missing", str(tmp_path)).returncode != 0
    assert adb("root").returncode != 0 or "root" in adb("root").stdout


def test_android_answers(adb: Adb) -> None:
    assert adb("shell", "getprop", "ro.product.model").stdout == "Test Phone\n"
    assert adb("get-state").stdout == "device\n"

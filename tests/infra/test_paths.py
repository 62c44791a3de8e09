"""No path of the phone leads out of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splitfleet.infra.virtual_phone.paths import PhonePaths
from splitfleet.kernels.errors import UserError

ROOT = Path("/r/phone")
segments = st.sampled_from(["..", ".", "", "data", "local", "tmp", "sdcard", "x", "~", "a b"])


@given(st.lists(segments, max_size=12).map("/".join))
@example("/data/local/tmp/../../../../../etc/passwd")
@example("/r/phone/../../etc/passwd")
def test_every_path_stays_inside(phone_path: str) -> None:
    assert PhonePaths(ROOT).local(phone_path).is_relative_to(ROOT)


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "phone"
    (root / "data/local/tmp").mkdir(parents=True)
    (root / "data/local/tmp/out").symlink_to(tmp_path)
    (root / "data/local/tmp/in").symlink_to(root / "data")
    paths = PhonePaths(root)
    assert paths.local("/data/local/tmp/in/local") == root / "data/local"
    assert paths.local("/data/local/tmp/out") == root / "data/local/tmp/out", "the link itself is the phone's"
    for path in ("/data/local/tmp/out/file", "/data/local/tmp/out/phone/../file"):
        with pytest.raises(PermissionError):
            paths.local(path) if "/../" not in path else paths.followed("/data/local/tmp/out")


@pytest.mark.parametrize(
    ("command", "mapped"),
    [
        ("cat /data/local/tmp/x", "cat /r/phone/data/local/tmp/x"),
        (
            "A=/data/local/tmp; ls '/sdcard'>/sdcard/y",
            "A=/r/phone/data/local/tmp; ls '/r/phone/sdcard'>/r/phone/sdcard/y",
        ),
        ("cat /sys/class/thermal/thermal_zone*/temp", "cat /r/phone/sys/class/thermal/thermal_zone*/temp"),
        ("/system/bin/getprop x", "/r/phone/system/bin/getprop x"),
        ("cat /proc/cpuinfo", "cat /r/phone/proc/cpuinfo"),
        ("cat /proc/self/status /proc/1/stat", "cat /proc/self/status /proc/1/stat"),
        ("ls /r/phone/data /database /usr/data $X/data ./data", "ls /r/phone/data /database /usr/data $X/data ./data"),
        ("ls /systemd /sysfs", "ls /systemd /sysfs"),
    ],
)
def test_paths_within_commands(command: str, mapped: str) -> None:
    assert PhonePaths(ROOT).command(command, disk_full=False) == mapped


@pytest.mark.parametrize(
    ("command", "mapped"),
    [
        ("echo x > /data/local/tmp/f; ls", "echo x > /dev/full; ls"),
        ('cd /data && a >>"/sdcard/f" b', 'cd /r/phone/data && a >>"/dev/full" b'),
        ("echo $$ > pid; ls 2>&1 >/dev/null", "echo $$ > /dev/full; ls 2>&1 >/dev/null"),
        ("cat < /data/f", "cat < /r/phone/data/f"),
    ],
)
def test_redirections_on_a_full_disk(command: str, mapped: str) -> None:
    assert PhonePaths(ROOT).command(command, disk_full=True) == mapped


def test_a_folder_that_a_shell_would_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--root"):
        PhonePaths(tmp_path / "my phone")

"""Descriptions of phones: what is wrong with one is said in one line each."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from splitfleet.infra.virtual_phone import load_description
from splitfleet.kernels.errors import UserError

from .phones import PHONE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[battery]\nlevel = 101", r"'battery\.level' is 101: .*less than or equal to 100"),
        ("[battery]\nlevle = 1", r"unknown key 'battery\.levle'; did you mean 'level'\?"),
        (
            "[thermal]\nzones = [{type = 'a', degrees = 1}]",
            r"unknown key 'thermal\.zones\.0\.degrees'; did you mean 'millidegrees'\?",
        ),
        ("[gpu]\ncore = 1", r"'gpu\.core' is 1: "),
        ("[cpu]\nisa = 'sse9'", r"'cpu\.isa' is 'sse9': .*'x86-64-v2'"),
        ("[[faults]]\nkind = 'stall'", r"'faults\.0\.stall\.seconds' is missing"),
        ("[[faults]]\nkind = 'stall'\nsecond = 1", r"unknown key 'faults\.0\.stall\.second'; did you mean 'seconds'\?"),
        ("[[faults]]\nkind = 'kernel'\neffect = 'melt'\njob = 1", r"'faults\.0\.kernel\.effect': .*'nonsense'"),
        ("[[faults]]\nkind = 'explode'", r"'faults\.0' is .*explode.*'vanish'"),
        ("[properties]\n'a b' = 'x'", r"properties"),
        ("= 1", r"not valid TOML: .*line 5"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "phone.toml"
    file.write_text(PHONE + text)
    with pytest.raises(UserError, match=message) as caught:
        load_description(file)
    assert all(line.startswith(str(file)) for line in str(caught.value).splitlines())


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "phone.toml"
    file.write_text("")
    with pytest.raises(UserError, match=r"'serial' is missing\n.*'model' is missing"):
        load_description(file)
    with pytest.raises(UserError, match="cannot be read"):
        load_description(tmp_path / "missing.toml")


def test_the_demos_phones_differ_in_what_changes_times() -> None:
    folder = files("splitfleet.infra.demo")
    a, b = (load_description(Path(str(folder.joinpath(f"phone-{name}.toml")))) for name in "ab")
    assert a.serial != b.serial
    assert a.model != b.model
    assert (a.cpu.isa, b.cpu.isa) == ("x86-64-v3", "x86-64-v2")
    assert a.gpu.max_work_group_size != b.gpu.max_work_group_size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cpu]\ncores = [4000]", "cpu.cores names CPU 4000; this machine has"),
        ("[battery]\nlevel = -1", "'battery.level' is -1"),
    ],
)
def test_a_users_mistake_is_no_traceback(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "phone.toml"
    file.write_text(PHONE + text)
    command = [sys.executable, "-m", "splitfleet.infra.virtual_phone", str(file), "--root", str(tmp_path / "root")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr

"""`splitfleet kernels litert-check`: its table, its JSON and its exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from splitfleet.pipeline.cli import main

from ..kernels.litert.recordings import GOOD, HEADER, conv_feature, write


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["splitfleet", "kernels", "litert-check", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_agreement_is_a_table_and_ends_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(tmp_path / "ops.csv", GOOD))
    assert run(monkeypatch, path) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "winograd" in line]
    assert rows == [
        ["pixel4", "Adreno", "640", "winograd", "0", "0", "0", "4", "0"],
        ["s10", "Mali-G76", "MP12", "winograd", "1", "1", "0", "3", "0"],
    ]
    assert run(monkeypatch, path, "--json") == 0
    phones = json.loads(capsys.readouterr().out)
    assert [(phone["phone"], phone["disagreements"]) for phone in phones] == [("pixel4", 0), ("s10", 0)]


def test_a_disagreement_is_shown_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("CONV_2D", conv_feature(), ["", "", 5, "convolution_2d_9"])
    assert run(monkeypatch, str(write(tmp_path / "ops.csv", [*GOOD, wrong]))) == 1
    assert "s10, line 8: conv2d:h=56,w=56,in=64,out=64,k=3,stride=1,pad=1: convolution_2d_9" in capsys.readouterr().out


def test_other_phones_need_their_gpu_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    header = [name.replace("s10", "a03s") for name in HEADER]
    path = str(write(tmp_path / "ops.csv", GOOD, header))
    assert run(monkeypatch, path) == 2
    assert "the GPU of a03s is not known; name it with --gpu a03s=GPU" in capsys.readouterr().err
    assert run(monkeypatch, path, "--gpu", "a03s") == 2
    assert "--gpu 'a03s': expected PHONE=GPU" in capsys.readouterr().err
    assert run(monkeypatch, path, "--gpu", "a03s=PowerVR GE8320") == 0

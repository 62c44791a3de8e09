"""`splitfleet adopt`: from a file of probes to a provisional package that predicts, and is never a champion."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from splitfleet.predictors.archive import unpack

from ..kernels.litert.recordings import HEADER, write
from .test_litert_training import USC, rows_of, run

# MLflow and SQLAlchemy use what they themselves deprecate.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)

NEW = ["--phone", "s10", "--gpu", "Mali G76"]


def columns_of_s10(path: Path, factor: float) -> Path:
    """The same file with times in the columns of the second phone, of which each is `factor` times the first's."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([*row[:3], "", "", float(row[3]) * factor, row[4]] for row in rows)
    return path


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    file = write(tmp_path / "elder.csv", rows_of(40, 1))
    assert run(monkeypatch, "traces", "import", file, *USC, "--into", "elder") == 0
    assert run(monkeypatch, "train", "elder") == 0
    capsys.readouterr()
    return tmp_path


def test_probes_from_a_file_make_a_provisional_package(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = columns_of_s10(write(trained / "probes.csv", rows_of(12, 2)), 1.8)
    words = ["adopt", "--from", probes, "--format", "usc-mobile-ml", *NEW]
    assert run(monkeypatch, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["alias"] == "provisional"
    assert told["elders"][0].startswith("pixel4-")
    assert told["metrics"]["conv2d"]["n"] == 12
    assert told["metrics"]["conv2d"]["mape"] < 20
    manifest = unpack(Path(told["path"]), lambda name: True)[1]
    assert manifest["provisional"]["errors"] == "folds over the probes"

    others = columns_of_s10(write(trained / "others.csv", rows_of(30, 3)), 1.8)
    words = ["traces", "import", others, "--format", "usc-mobile-ml", *NEW, "--into", "s10-test"]
    assert run(monkeypatch, *words) == 0
    capsys.readouterr()
    assert run(monkeypatch, "evaluate", "s10-test", "--json") == 0
    out = capsys.readouterr()
    assert "has no champion; its provisional package is taken" in out.err
    rows = {row["operator"]: row for row in json.loads(out.out)["rows"]}
    assert rows["conv2d"]["mape"] < 20
    # a package that is trained on a campaign's worth of shapes becomes the champion, whatever was adopted before
    assert run(monkeypatch, "train", "s10-test") == 0
    capsys.readouterr()
    assert run(monkeypatch, "evaluate", "s10-test", "--json") == 0
    assert "provisional" not in capsys.readouterr().err


def test_elders_may_be_named_and_what_is_missing_is_told(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = columns_of_s10(write(trained / "probes.csv", rows_of(12, 2)), 1.8)
    words = ["adopt", "--from", probes, "--format", "usc-mobile-ml"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{trained / 'empty.db'}")
    assert run(monkeypatch, *words, *NEW) == 2
    assert "no other phone's models are there to learn from" in capsys.readouterr().err
    assert run(monkeypatch, *words, *NEW, "--elder", "elder") == 0
    assert "learnt from pixel4-" in capsys.readouterr().out
    assert run(monkeypatch, *words, *NEW, "--elder", "nowhere") == 2
    assert "nowhere: neither a package nor a folder with packages" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--phone", "s10") == 2
    assert "--from FILE needs --gpu" in capsys.readouterr().err
    assert run(monkeypatch, "adopt") == 2
    assert "name the new phone once" in capsys.readouterr().err

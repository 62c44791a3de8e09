"""`splitfleet adopt`: from probes, of a file or a phone, to a provisional package that predicts, and is no champion."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline import adopting_phone
from splitfleet.pipeline.adopting_phone import adopt_phone
from splitfleet.pipeline.campaign import COPY_NAME
from splitfleet.pipeline.campaign_run import CampaignSummary
from splitfleet.pipeline.profile import DeviceProfile
from splitfleet.predictors.archive import unpack
from splitfleet.predictors.package import build_package
from splitfleet.predictors.registry import find_version
from splitfleet.predictors.signing import generate_keys, sign_package, signature_path
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.traces import write_traces
from splitfleet.predictors.train import train_class

from ..kernels.litert.recordings import HEADER, write
from ..predictors import synthetic
from .limits import files_up_to
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


def test_a_package_adopted_again_is_not_signed_as_the_one_before(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = columns_of_s10(write(trained / "probes.csv", rows_of(12, 2)), 1.8)
    words = ["adopt", "--from", probes, "--format", "usc-mobile-ml", *NEW, "--json"]
    assert run(monkeypatch, *words) == 0
    package = Path(json.loads(capsys.readouterr().out)["path"])
    signed(package)
    columns_of_s10(write(trained / "probes.csv", rows_of(14, 4)), 1.8)
    assert run(monkeypatch, *words) == 0
    found = find_version(f"{json.loads(capsys.readouterr().out)['device_class']}@provisional")
    assert not signature_path(package).exists()
    assert (found.version, found.signed_by) == (2, "")


def signed(package: Path) -> None:
    key = package.with_suffix(".key")
    generate_keys(key, package.with_suffix(".pub"))
    sign_package(package, key)


@pytest.fixture(scope="module")
def elder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of another phone, for our own kernels."""
    folder = tmp_path_factory.mktemp("elder")
    models = train_class(synthetic.traces(folder), synthetic.PROFILE, seed=7)
    return build_package(models, SplitTable.of(synthetic.DEVICE_CLASS, "eigen-3.4.0", []), folder / "elder.zip")


def measured(file: Path, folder: Path, **_: Any) -> CampaignSummary:
    """What a campaign on a phone leaves in its folder."""
    agent = {**synthetic.CAPABILITIES["agent"], "compiler": "gcc"}
    phone = DeviceProfile("New Phone", "none", "x86_64", {}, {**synthetic.CAPABILITIES, "agent": agent}, 3)
    phone.save(folder / "profiles")
    shutil.copyfile(file, folder / COPY_NAME)
    rows = [{**row, "device_class": phone.device_class} for row in synthetic.trace_rows(30, seed=5)]
    write_traces(rows, folder / "traces" / "phone=a" / "part.parquet")
    return CampaignSummary("adopt", folder, ())


def test_a_phone_gets_a_provisional_package_without_the_signature_of_an_older_one(
    elder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setattr(adopting_phone, "run_campaign", measured)
    folder = tmp_path / "adopted"
    # The first two probes are a convolution and a linear layer, of which the elder knows.
    first = adopt_phone("127.0.0.1:5555", folder, count=2, elders=[elder])
    assert first.device_class.startswith("new-phone-")
    assert first.elders == (synthetic.DEVICE_CLASS,)
    signed(first.path)
    again = adopt_phone("127.0.0.1:5555", folder, count=2, elders=[elder])
    assert not signature_path(again.path).exists()
    found = find_version(f"{again.device_class}@provisional")
    assert (found.version, found.signed_by) == (2, "")


def test_a_folder_that_cannot_be_used_is_named(elder: Path, tmp_path: Path) -> None:
    file, campaign = tmp_path / "file", tmp_path / "campaign"
    file.touch()
    with pytest.raises(UserError, match=r"file/adopt\.toml: cannot be written .*name another place"):
        adopt_phone("127.0.0.1:5555", file, count=25, elders=[elder])
    campaign.mkdir()
    (campaign / COPY_NAME).touch()
    with pytest.raises(UserError, match="campaign belongs to a campaign; name another folder with --out"):
        adopt_phone("127.0.0.1:5555", campaign, count=25, elders=[elder])
    assert [path.name for path in campaign.iterdir()] == [COPY_NAME]
    with files_up_to(10), pytest.raises(UserError, match=r"full/adopt\.toml: cannot be written"):
        adopt_phone("127.0.0.1:5555", tmp_path / "full", count=25, elders=[elder])
    assert not list((tmp_path / "full").iterdir())

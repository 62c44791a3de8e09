"""Networks measured whole, from the files of others to `predict --model` under LiteRT."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from splitfleet.pipeline.cli import main
from splitfleet.pipeline.litert_training import with_networks
from splitfleet.predictors.litert_package import write_litert_package
from splitfleet.predictors.litert_predict import predict_operations
from splitfleet.predictors.litert_train import LitertModels, train_litert
from splitfleet.predictors.traces import read_traces

from ..kernels.litert.recordings import HEADER, write
from ..kernels.tflite_files import small_network
from .test_litert_training import USC, rows_of

NETWORKS = 12


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["splitfleet", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def operations_and_networks(folder: Path) -> tuple[Path, Path]:
    """Twelve networks, each 500 us and 1.2 times its sum; one shape in five is without a time, as if kept back."""
    path = write(folder / "ops.csv", rows_of(40, 1), HEADER)
    rows = list(csv.reader(path.read_text("utf-8").splitlines()))
    sums = dict.fromkeys((f"net{index}" for index in range(NETWORKS)), 0.0)
    for index, row in enumerate(rows[1:]):
        row[0] = f"net{index % NETWORKS}"
        sums[row[0]] += float(row[3])
        if hash_of(row[2]) % 5 == 0:
            row[3:] = ["", "", "", ""]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    whole = folder / "e2e.csv"
    lines = [f"{name},{500 + 1.2 * total}\n" for name, total in sums.items()]
    whole.write_text("model,pixel4|gpu|float|mean\n" + "".join(lines) + "elsewhere,7\nnet3,\n")
    return path, whole


def hash_of(text: str) -> int:
    return sum(text.encode())


def test_from_measured_networks_to_a_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = operations_and_networks(tmp_path)
    words = ["traces", "import", path, *USC, "--into", tmp_path / "runs", "--networks"]
    assert run(monkeypatch, *words, whole) == 0
    assert f"{NETWORKS} networks were measured whole" in capsys.readouterr().out
    trained = with_networks(tmp_path / "runs", train_litert(read_traces(tmp_path / "runs"), seed=0))
    figures = trained.metrics["network"]
    assert (figures["n"], figures["within_10"]) == (NETWORKS, 100)
    assert trained.models.overhead is not None
    assert trained.models.overhead.factor == pytest.approx(1.2, rel=0.1)

    package = write_litert_package(trained, tmp_path / "package.zip")
    (tmp_path / "small.tflite").write_bytes(small_network())
    assert run(monkeypatch, "predict", package, "--model", tmp_path / "small.tflite", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runtime"], found["network"]) == ("litert", "small")
    assert [(row["operator"].split(":")[0], row["fused"]) for row in found["operators"]] == [
        ("conv2d", "relu"),
        ("depthwise", "relu"),
        ("conv2d", "add relu"),
    ]
    operators_us = sum(row["times_us"]["gpu"] * len(row["nodes"]) for row in found["operators"])
    overhead = trained.models.overhead
    expected = overhead.network_us + 3 * overhead.operator_us + overhead.factor * operators_us
    assert found["whole_us"]["gpu"] == pytest.approx(operators_us)
    assert found["whole_us"]["whole"] == pytest.approx(expected)
    assert {row["type"] for row in found["unsupported"]} == {"MEAN", "FULLY_CONNECTED", "WhoKnows", "SOFTMAX"}
    assert 0 < found["unsupported_flops_percent"] < 5

    assert run(monkeypatch, "predict", package, "--model", tmp_path / "small.tflite") == 0
    shown = capsys.readouterr().out
    assert "WhoKnows" in shown
    assert "without a time: " in shown
    one_operator(package, trained.models, monkeypatch, capsys)


def one_operator(
    package: Path, models: LitertModels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """LiteRT's package predicts an operator too, with nothing to split."""
    text = "conv2d:h=14,w=14,in=64,out=8000,k=1,stride=1,pad=0"
    [row] = predict_operations(models, [text]).to_dict("records")
    assert run(monkeypatch, "predict", package, "--op", text, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"device_class": models.device_class, "prediction": row}
    assert (row["operator"], row["outside"]) == (text, True)
    assert run(monkeypatch, "predict", package, "--op", text) == 0
    shown = capsys.readouterr().out
    assert f"{row['predicted_us']:.0f} µs ({row['low_us']:.0f} to {row['high_us']:.0f})" in shown
    assert "the operator lies outside what was measured" in shown
    assert run(monkeypatch, "predict", package, "--op", "mean:height=7,width=7,channels=64") == 2
    assert "its predictors were not trained on mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,pixel4|gpu|float|std\nnet1,5\n", "e2e.csv: no column pixel4|gpu|float|mean"),
        ("model,pixel4|gpu|float|mean\nnet1,5\nnet1,6\n", "e2e.csv, line 3: the network 'net1' a second time"),
        ("model,pixel4|gpu|float|mean\nnet1,soon\n", "e2e.csv, line 2: 'soon' is no time in us"),
        ("model,pixel4|gpu|float|mean\nelsewhere,5\n", "no network with a time whose operations are listed"),
        ("", "e2e.csv: cannot be read"),
    ],
)
def test_what_is_no_table_of_networks_is_named(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = operations_and_networks(tmp_path)
    whole.write_text(text)
    words = ["traces", "import", path, *USC, "--into", tmp_path / "runs", "--networks", whole]
    assert run(monkeypatch, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [[], ["--op", "linear:rows=1,in=8,out=8", "--model", "m.onnx"]])
def test_predict_takes_an_operator_or_a_network(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "predict", "device", *words) == 2
    assert "predict takes either --op or --model" in capsys.readouterr().err

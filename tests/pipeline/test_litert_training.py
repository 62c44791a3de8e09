"""`splitfleet traces import`, `train` and `evaluate` on measurements of others, from file to figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from splitfleet.pipeline.cli import main
from splitfleet.predictors.traces import read_traces

from ..kernels.litert.recordings import GOOD, HEADER, conv_feature, depthwise_feature, write
from .limits import files_up_to

USC = ["--format", "usc-mobile-ml", "--phone", "pixel4", "--gpu", "Adreno 640"]
GPUS = ["Adreno 640", "Adreno 616", "Mali G76", "PowerVR GE8320", "PowerVR GT7600+", "Apple G11P"]
GROUPED = {**conv_feature(14, 64, 14, 1, 3, 64), "Group": "8", "FLOPS": "1"}
POOL = {"Input_shape": "14", "Input_channel": 64, "Output_shape": "7", "Stride": "2", "Kernel": "2", "Filter": "-"}
CONCAT = {"Input_shape": "14", "Input_channel": 64, "Output_shape": "14", "Kernel": "2", "Filter": "96"}


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["splitfleet", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def rows_of(count: int, seed: int) -> list[tuple[str, object, list[object]]]:
    """Convolutions and depthwise convolutions with a law in their times, each shape in one to three networks."""
    draw = np.random.default_rng(seed)
    rows: list[tuple[str, object, list[object]]] = []
    for index in range(count):
        side, source, channels = (int(x) for x in (draw.choice([7, 14, 28]), draw.integers(4, 40) * 8, index * 4 + 16))
        feature = conv_feature(side, source, side, 1, 1, channels)
        kernel = "convolution_2d_3_linked_:_relu_4" if index % 2 else "convolution_2d_3"
        time_us = 9 + int(str(feature["FLOPS"])) / 4e5
        for _ in range(index % 3 + 1):
            rows.append(("CONV_2D", feature, [time_us * np.exp(0.02 * draw.standard_normal()), kernel, "", ""]))
        depthwise = depthwise_feature(side + 2, channels, side)
        rows.append(("DEPTHWISE_CONV_2D", depthwise, [5 + 0.002 * side * side * channels, "depthwise_1", "", ""]))
    return rows


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, file = write(tmp_path / "ops.csv", rows_of(4, 1)), tmp_path / "README.md"
    file.write_text("a file")
    assert run(monkeypatch, "traces", "import", path, *USC, "--into", file) == 2
    assert f"{file}: cannot be written" in capsys.readouterr().err
    assert file.read_text() == "a file"
    with files_up_to(1):
        assert run(monkeypatch, "traces", "import", path, *USC, "--into", tmp_path / "runs") == 2
    assert f"{tmp_path / 'runs'}: cannot be written" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("gpu", GPUS)
def test_every_operation_of_the_data_set_becomes_a_trace(
    gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [
        ("CONV_2D_GROUP", GROUPED, [4, "convolution_2d_grouped_1_linked_:_relu_2", "", ""]),
        ("MAX_POOL_2D", POOL, [5, "pooling_2d_1", "", ""]),
        ("MEAN", {"Input_shape": "7", "Input_channel": 64}, [6.5, "mean_2", "", ""]),
        ("CONCATENATION", CONCAT, [7, "concat_5_linked_:_add_6", "", ""]),
        ("CONV_2D", conv_feature(), ["", "", "", ""]),
        ("RESIZE", "{}", [3, "resize_1", "", ""]),
    ]
    good = [row for row in GOOD if row[0] != "MEAN"]
    path = write(tmp_path / "ops.csv", [*good, *more])
    words = ["traces", "import", path, "--format", "usc-mobile-ml", "--phone", "pixel4", "--gpu", gpu]
    assert run(monkeypatch, *words, "--into", tmp_path / "runs", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["untimed"] == 2
    assert told["skipped"] == {"RESIZE, which is not known here": 1}
    traces = read_traces(tmp_path / "runs")
    assert sorted(traces["operator_type"]) == sorted(
        ["conv2d", "conv2d", "linear", "depthwise_conv2d", "grouped_conv2d", "pool2d", "mean", "concat"]
    )
    concat = traces[traces["operator_type"] == "concat"].iloc[0]
    assert json.loads(concat["quantities"])["fused_add"] == 1
    assert concat["end_ns"][0] - concat["start_ns"][0] == 7000
    assert json.loads(concat["operating_point"])["runtime"] == "litert"
    # the same file again takes its own place
    assert run(monkeypatch, *words, "--into", tmp_path / "runs") == 0
    assert len(read_traces(tmp_path / "runs")) == len(traces)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--phone", "a03s"], "line 1: no column a03s|gpu|float; the file has these phones: pixel4, s10"),
        (["--gpu", "Voodoo 2"], "GPU 'Voodoo 2': LiteRT's dispatch is described for"),
        (["--format", "xml"], "--format 'xml' is unknown; known: usc-mobile-ml, table"),
    ],
)
def test_what_cannot_be_imported_is_named(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / "ops.csv", [row for row in GOOD if row[0] != "MEAN"])
    assert run(monkeypatch, "traces", "import", path, *USC, *words, "--into", tmp_path / "runs") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("CONV_2D", conv_feature(), ["-1", "k", "", ""]), "line 3: pixel4: '-1' is no time in us"),
        (("MEAN", "{}", [3, "mean_1", "", ""]), "line 3: Input_shape must be a whole number of at least 1, not None"),
        (("CONV_2D_GROUP", GROUPED | {"Group": "7"}, [3, "k", "", ""]), "line 3: grouped_conv2d:.* 7 groups do not"),
        (("MAX_POOL_2D", POOL | {"Output_shape": "9"}, [3, "k", "", ""]), "line 3: no padding makes 9 pixels of 14"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    row: tuple[str, object, list[object]],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / "ops.csv", [GOOD[0], row])
    assert run(monkeypatch, "traces", "import", path, *USC, "--into", tmp_path / "runs") == 2
    error = capsys.readouterr().err
    assert pd.Series([error]).str.contains(message).all(), error


def test_a_table_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "operator,time_us,fused,network\n"
        '"conv2d:h=7,w=7,in=64,out=64,k=1,epilogue=add_relu",12.5,,a\n'
        '"mean:height=7,width=7,channels=64",,,a\n'
        '"linear:rows=1,in=64,out=10",3,sigmoid,b\n'
    )
    words = ["traces", "import", path, "--format", "table", "--phone", "Mine", "--gpu", "Mali-G76 MP10"]
    assert run(monkeypatch, *words, "--into", tmp_path / "runs") == 0
    assert "1 rows have no time" in capsys.readouterr().out
    traces = read_traces(tmp_path / "runs")
    fused = [json.loads(text) for text in traces["quantities"]]
    assert [(q["fused_add"], q["fused_relu"], q["fused_sigmoid"]) for q in fused] == [(1, 1, 0), (0, 0, 1)]
    assert "epilogue" not in traces["operator"].iloc[0]
    pd.read_csv(path).to_parquet(tmp_path / "mine.parquet")
    words[2] = tmp_path / "mine.parquet"
    assert run(monkeypatch, *words, "--into", tmp_path / "again") == 0
    columns = ["operator", "kernel", "quantities"]
    pd.testing.assert_frame_equal(read_traces(tmp_path / "again")[columns], traces[columns])
    path.write_text(path.read_text() + '"conv2d:h=7",1,,\n')
    words[2] = path
    assert run(monkeypatch, *words, "--into", tmp_path / "runs") == 2
    assert "mine.csv, line 5: operator 'conv2d:h=7'" in capsys.readouterr().err


@pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)
def test_train_registers_a_champion_that_evaluate_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    mean: tuple[str, object, list[object]] = ("MEAN", {"Input_shape": "7", "Input_channel": 8}, [3, "mean_1", "", ""])
    for name, count, seed, more in (("train", 40, 1, []), ("test", 20, 2, [mean])):
        path = write(tmp_path / f"{name}.csv", [*rows_of(count, seed), *more], HEADER)
        assert run(monkeypatch, "traces", "import", path, *USC, "--into", tmp_path / name) == 0
    assert run(monkeypatch, "evaluate", tmp_path / "test") == 2
    assert "no model is registered; train it first" in capsys.readouterr().err
    assert run(monkeypatch, "train", tmp_path / "train") == 0
    capsys.readouterr()
    assert run(monkeypatch, "evaluate", tmp_path / "test", "--json") == 0
    out, err = capsys.readouterr()
    assert "left out, since its predictors were not trained on them: mean" in err
    rows = json.loads(out)["rows"]
    assert [(row["phone"], row["processor"], row["operator"], row["n"]) for row in rows] == [
        ("pixel4", "gpu", "conv2d", 20),
        ("pixel4", "gpu", "depthwise_conv2d", 20),
    ]
    assert all(row["mape"] < 8 and row["coverage_90"] >= 75 for row in rows)
    assert {"median", "within_5", "within_10", "within_15", "rmspe"} <= rows[0].keys()
    assert run(monkeypatch, "evaluate", tmp_path / "test", "--model", tmp_path / "train", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == rows
    assert run(monkeypatch, "evaluate", tmp_path / "test", "--model", tmp_path) == 2
    assert "holds no model of pixel4-" in capsys.readouterr().err

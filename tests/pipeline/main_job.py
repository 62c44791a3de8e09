"""The main job in a folder, by the words of README: a campaign on a virtual phone, trained, published, reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAMPAIGN = """
name = "my-campaign"
seed = 3
[phones]
tcp = ["ADDRESS"]
[measure]
samples = { linear = 12, conv2d = 12 }
checked_joins = 1000
transfers = [4096]
[measure.repeat]
warmup = 1
min_count = 5
min_time_us = 0
max_count = 9
max_time_us = 60000
[publish]
calibrate_layers = 3
validate_layers = 2
search_layers = 1
search_cuts = 5
search_repetitions = 5

[[layers]]
name = "fc1"
type = "linear"
rows = 48
in = 256
out = 512

[[layers]]
name = "decoder"
type = "linear"
rows = [1, 40]
in = 64
out = 128

[[layers]]
name = "conv"
type = "conv2d"
height = 14
width = 14
in = 64
out = 128
kernel = 3
padding = 1
"""


@dataclass(frozen=True)
class MainJob:
    """The folder in which the verbs were run, the phone's address, and what the verbs printed."""

    folder: Path
    address: str
    summary: dict[str, Any]
    report: dict[str, Any]
    listed: list[dict[str, Any]]
    predicted: dict[str, Any]
    text: str

    @property
    def store(self) -> str:
        return store_of(self.folder)

    @property
    def device_class(self) -> str:
        return str(self.listed[0]["device_class"])


def store_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def splitfleet(folder: Path, *words: str) -> str:
    program = "from splitfleet.pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": store_of(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_main_job(folder: Path, address: str) -> MainJob:
    """Runs all verbs once."""
    (folder / "my-campaign.toml").write_text(CAMPAIGN.replace("ADDRESS", address), "utf-8")
    summary = json.loads(splitfleet(folder, "campaign", "run", "my-campaign.toml", "--json"))
    splitfleet(folder, "train", "runs/my-campaign")
    splitfleet(folder, "publish", "runs/my-campaign")
    report = json.loads(splitfleet(folder, "report", "runs/my-campaign", "--json"))
    listed = json.loads(splitfleet(folder, "package", "list", "--json"))
    name = listed[0]["device_class"]
    splitfleet(folder, "package", "download", name, "-o", "phone.zip")
    splitfleet(folder, "package", "verify", "phone.zip")
    predicted = splitfleet(folder, "predict", name, "--op", "linear:rows=40,in=256,out=500", "--json")
    text = splitfleet(folder, "report", "runs/my-campaign")
    return MainJob(folder, address, summary, report, listed, json.loads(predicted), text)

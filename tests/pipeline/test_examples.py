"""Every example in README.md and docs/*.md runs as it is written, or is listed here with the reason why it cannot.

They run in the folder of the main job (main_job.py), in the order of their page, in this process. Placeholders are
filled by PLACEHOLDERS; a command that stands on several pages runs once.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from splitfleet.infra.virtual_phone.description import load_description
from splitfleet.pipeline.campaign import load_campaign
from splitfleet.pipeline.cli import main

from ..kernels.litert.recordings import GOOD, write
from .doc_examples import PAGES, REPOSITORY, Example, examples
from .main_job import MainJob
from .test_litert_training import rows_of
from .test_networks import operations_and_networks

# MLflow and SQLAlchemy use what they themselves deprecate.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)

PLACEHOLDERS = {
    r"\bvirtual-a-1b2c3d4e\b|\bDEVICE\b": "CLASS",  # the main job's device class
    r"\b192\.168\.1\.20:5555\b": "ADDRESS",  # its phone
    r"@2\b": "@1",  # its package's only version
    r"--version 2\b": "--version 1",
    r"\bruns/demo\b": "runs/my-campaign",
    r"\bFILE(\.csv)? --format": "train.csv --format",
    r"\bOTHER --format": "test.csv --format",
    r"\bOTHER_FOLDER\b": "runs/pixel4-test",
    r"\btflite_cnn_ops_gpu\.csv --format": "ops.csv --format",
    r"\btflite_cnn_e2e\.csv": "e2e.csv",
    r"\[CAMPAIGN\.toml\] \[--phone HOST:PORT\]( \[--json\])?": "my-campaign.toml",
    r"\[--platform TEXT\] \[--device TEXT\] \[--cases 300\] \[--seed 0\]": "--cases 2",
}

PRESENT = ("campaign run my-campaign.toml", "train runs/my-campaign", "publish runs/my-campaign")
"""What the main job has run, word for word."""

NOT_RUN = {
    r"^make ": "installs into .venv and runs what these tests are a part of",
    r"^sudo |^export ": "sets up a rack's host",
    r"^adb ": "needs a phone and Android's adb; tests/infra runs it where it is installed",
    r"splitfleet host |--cluster": "needs several hosts; tests/pipeline/test_hosts.py has them",
    r"splitfleet ui$|devices --watch": "runs until it is ended",
    r"splitfleet devices$": "lists phones on USB, of which a test has none",
    r"campaign stop": "needs a campaign that runs; test_fleet.py stops one",
    r"agent build|splitfleet\.infra\.android": "compiles for minutes, or needs the Android NDK; tests/agent does it",
    r"^splitfleet-agent ": "runs on the phone; tests/agent runs it",
    r"splitfleet\.infra\.virtual_phone": "runs until it is ended, or gives orders to it; tests/infra does",
    r"splitfleet adopt |splitfleet\.infra\.probes": "measures and trains for minutes; test_adopt.py does it",
    r"splitfleet network ": "runs ResNet-50 on the phone for minutes; tests/agent/test_network.py runs small ones",
    r"publish .* --sign": "proves the plans once more; `package sign`, behind it, runs",
    r"-m pytest tests/|-m tests\.bench\.": "is a test or a benchmark itself",
}

EXCERPTS = {
    "docs/predictors.md": "time = cost_model",  # a formula
    "docs/adopt.md": "time = cost_model",  # a formula
    "docs/split-table.md": "#include",  # of examples/runtime/main.cpp, which tests/runtime compiles and runs
}


def all_examples() -> list[Example]:
    return [example for page in PAGES for example in examples(page)]


def reason_not_to_run(example: Example) -> str | None:
    if EXCERPTS.get(example.page) and example.text.startswith(EXCERPTS[example.page]):
        return "an excerpt"
    if example.kind != "command":
        return None
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, example.text)), None)


@pytest.fixture(scope="module")
def done() -> set[str]:
    """The commands that have run."""
    return set(PRESENT)


@pytest.fixture(scope="module")
def workspace(main_job: MainJob) -> Path:
    """The main job's folder with the files that the examples name."""
    folder = main_job.folder
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    for name, count, seed in (("train", 40, 1), ("test", 20, 2)):
        write(folder / f"{name}.csv", rows_of(count, seed))
    operations_and_networks(folder)  # ops.csv and e2e.csv
    write(folder / "tflite_cnn_ops_gpu.csv", [row for row in GOOD if row[0] != "MEAN"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["--format", "usc-mobile-ml", "--phone", "pixel4", "--gpu", "Adreno 640"]
        assert call("traces", "import", "test.csv", *words, "--into", "runs/pixel4-test")[0] == 0
    return folder


def call(*words: str) -> tuple[int, str]:
    """The exit code of a verb, and what it printed."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(sys, "argv", ["splitfleet", *words])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), said.getvalue()
    return 0, said.getvalue()


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)])
def test_the_examples_of_a_page_run_as_written(
    page: str, workspace: Path, main_job: MainJob, done: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", main_job.store)
    for example in examples(page):
        if reason_not_to_run(example) is None:
            RUNNERS[example.kind](example, main_job, done)


def run_command(example: Example, job: MainJob, done: set[str]) -> None:
    text = example.text
    for pattern, value in PLACEHOLDERS.items():
        text = re.sub(pattern, value.replace("CLASS", job.device_class).replace("ADDRESS", job.address), text)
    program, *words = shlex.split(text)
    if " ".join(words) in done:
        return
    done.add(" ".join(words))
    if Path(program).name == "splitfleet":
        code, said = call(*words)
        assert code == 0, f"{example} ended with {code}: {said[-2000:]}"
    else:
        assert Path(program).name == "python", f"{example}: nothing here runs {program}"
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
            patch.setattr(sys, "argv", words)
            runpy.run_path(words[0], run_name="__main__")


def run_python(example: Example, job: MainJob, done: set[str]) -> None:
    """A profile stands for what an agent printed (`info`)."""
    text = example.text.replace("runs/demo", "runs/my-campaign")
    exec(compile(text, str(example), "exec"), {"info": profile(job)})


def profile(job: MainJob) -> object:
    from splitfleet.predictors.package import open_package

    return open_package(job.folder / "phone.zip").profile["capabilities"]


def run_toml(example: Example, job: MainJob, done: set[str]) -> None:
    """A campaign file, or a phone's description, is read as one."""
    folder = job.folder / "toml"
    folder.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "examples" / "resnet50.toml", folder)
    path = folder / f"{Path(example.page).stem}.toml"
    path.write_text(example.text, "utf-8")
    if "layers" in tomllib.loads(example.text):
        load_campaign(path)
    else:
        load_description(path)


RUNNERS = {"command": run_command, "python": run_python, "toml": run_toml}


def test_every_reason_has_an_example() -> None:
    """What stands in the lists above and in no page any more is to go from here, too."""
    texts = [example.text for example in all_examples()]
    for pattern in (*NOT_RUN, *PLACEHOLDERS, *map(re.escape, PRESENT)):
        assert any(re.search(pattern, text) for text in texts), pattern
    for page, start in EXCERPTS.items():
        assert any(example.text.startswith(start) for example in examples(page)), page

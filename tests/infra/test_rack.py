"""The files of a phone rack: what can be checked of them without a rack."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from splitfleet.pipeline.cli import app

REPOSITORY = Path(__file__).parents[2]
RACK = REPOSITORY / "infra/rack"
UNITS = sorted((RACK / "systemd").glob("*.service"))


def options(command: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in command if word.startswith("--")}


@pytest.fixture(scope="module")
def mlflow_options() -> set[str]:
    help_text = subprocess.run(
        [sys.executable, "-m", "mlflow", "server", "--help"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    return set(re.findall(r"^\s+(?:-\w, )?(--[a-z0-9-]+)", help_text, re.MULTILINE))


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((RACK / "compose.yaml").read_text())
    return content


def started_by(unit: Path) -> list[str]:
    match = re.search(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)
    assert match, unit
    return shlex.split(match.group(1))


def test_the_compose_file_is_whole() -> None:
    services = compose()["services"]
    assert set(services) == {"database", "objects", "bucket", "mlflow"}
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services)
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} listens beyond loopback"
        if image := service.get("image"):
            assert re.search(r":.*\d", image), f"{name}: {image} names no release"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose()["volumes"]


def test_no_secret_is_written_into_the_files() -> None:
    named = set(re.findall(r"\$\{([A-Z_]+)", (RACK / "compose.yaml").read_text()))
    example = dict(
        line.split("=", 1)
        for line in (RACK / "mlflow.env.example").read_text().splitlines()
        if re.match("[A-Z_]+=", line)
    )
    assert named == set(example)
    assert {name for name, value in example.items() if not value} == {
        "POSTGRES_PASSWORD",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }


def test_mlflow_takes_the_options(mlflow_options: set[str]) -> None:
    assert "--backend-store-uri" in mlflow_options, "the help was not understood"
    in_compose = compose()["services"]["mlflow"]["command"]
    in_unit = started_by(RACK / "systemd/splitfleet-mlflow.service")
    assert in_compose[:2] == ["mlflow", "server"]
    assert in_unit[1] == "server"
    for command in (in_compose, in_unit):
        assert options(command)
        assert options(command) <= mlflow_options


def test_the_server_is_the_release_that_campaigns_use() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = next(item for item in project["optional-dependencies"]["mlflow"] if item.startswith("mlflow"))
    docker = (RACK / "mlflow.Dockerfile").read_text()
    assert f"'{wanted}'" in docker
    release = re.search(r"^FROM python:(\d+)\.(\d+)", docker, re.MULTILINE)
    assert release
    assert project["requires-python"] == f">={release.group(1)}.{release.group(2)}"


def verbs() -> list[list[str]]:
    """Each splitfleet command in the units and in the cluster file."""
    cluster = yaml.safe_load((RACK / "cluster.yaml").read_text())
    lines = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    commands = [started_by(unit) for unit in UNITS if unit.name != "splitfleet-mlflow.service"]
    commands += [shlex.split(line.partition(" ||")[0].replace("| cut -d' ' -f1)", ")")) for line in lines]
    return [command[1:] for command in commands if command[0].endswith("/splitfleet")]


def test_the_commands_are_ours() -> None:
    assert len(verbs()) == 6
    for command in verbs():
        help_text = CliRunner().invoke(app, [*command[:2], "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
        known = set(re.findall(r"(--[a-z-]+)", help_text))
        assert "--name" in known, f"{command[:2]} is no verb"
        assert options(command) <= known, command


def test_the_cluster_file_is_what_ray_expects() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    content = yaml.safe_load((RACK / "cluster.yaml").read_text())
    validate_config(prepare_config(content))
    assert content["provider"]["type"] == "local"
    assert content["max_workers"] == len(content["provider"]["worker_ips"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # The programs that a unit names are not installed here.
    text = re.sub(r"/opt/splitfleet/bin/\w+", "/bin/true", unit.read_text())
    (tmp_path / unit.name).write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit.name)], capture_output=True, text=True, timeout=180
    )
    complaints = [line for line in checked.stderr.splitlines() if unit.name in line]
    assert not complaints


def test_udev_accepts_the_rules() -> None:
    rules = RACK / "udev/51-splitfleet-phones.rules"
    for line in rules.read_text().splitlines():
        if line and not line.startswith("#"):
            for pair in line.split(", "):
                assert re.fullmatch(r'[A-Z]+(\{[^}]+\})?(==|!=|\+=|=)"[^"]*"', pair), pair
    if shutil.which("udevadm") is None:
        pytest.skip("udevadm is not installed; only the form of the rules was checked")
    checked = subprocess.run(["udevadm", "verify", str(rules)], capture_output=True, text=True, timeout=180)
    if "Unknown command verb" in checked.stderr:
        pytest.skip("this udevadm cannot verify rules")
    assert checked.returncode == 0, checked.stderr

"""The command line: what it says of wrong input, and what it does not import."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from splitfleet.kernels import Device, Linear, lower
from splitfleet.kernels.runner import Runner
from splitfleet.pipeline.cli import main

from ..conftest import StartPhone
from ..infra.phones import PHONE
from ..predictors.synthetic import CAPABILITIES
from .campaigns import campaign_body

VERBS = [
    ["devices"],
    ["doctor"],
    ["campaign", "run"],
    ["campaign", "status"],
    ["train"],
    ["evaluate"],
    ["traces", "import"],
    ["publish"],
    ["report"],
    ["predict"],
    ["package", "list"],
    ["package", "download"],
    ["package", "verify"],
    ["package", "diff"],
    ["package", "import"],
    ["package", "sign"],
    ["package", "keygen"],
    ["kernels", "check"],
    ["kernels", "plan"],
    ["kernels", "litert-check"],
    ["agent", "build"],
    ["agent", "list"],
    ["tune"],
    ["ui"],
]
HEAVY = ["lightgbm", "matplotlib", "mlflow", "pyopencl", "ray"]


class Splitfleet:
    """Calls the console script's entry point in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._patch.setattr(sys, "argv", ["splitfleet", *words])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = self._capture.readouterr()
        return code, out, err


@pytest.fixture
def splitfleet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, one_agent: None
) -> Splitfleet:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    return Splitfleet(monkeypatch, capsys)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_shows_an_example(splitfleet: Splitfleet, verb: list[str]) -> None:
    code, out, _ = splitfleet(*verb, "--help")
    assert code == 0
    assert f"Example: splitfleet {' '.join(verb)}" in out


def test_help_imports_no_heavy_module() -> None:
    program = f"""
import sys
from splitfleet.kernels import Device, Linear, lower
from splitfleet.kernels.runner import Runner
from splitfleet.pipeline.cli import main
for verb in {[[], *VERBS]!r}:
    sys.argv = ["splitfleet", *verb, "--help"]
    try:
        main()
    except SystemExit:
        pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[measure]", "[measure]\nsample = 3"), "measure.sample: unknown key; did you mean 'samples'?"),
        (("rows = 8", "rows = -8"), "rows: Input should be greater than 0, not -8"),
        (("out = 96", "out = 96\ncut = [6]"), "cut 6 must be a multiple of 4 between 0 and 96"),
        (("[measure]", "[measure"), "not valid TOML"),
    ],
)
def test_a_bad_campaign_file_names_file_and_line(
    splitfleet: Splitfleet, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('name = "bad"\n' + campaign_body().replace(*change, 1), "utf-8")
    code, _, err = splitfleet("campaign", "run", str(file))
    assert code == 2
    assert words in err
    assert f"{file}:" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["campaign", "run", "absent.toml"], "absent.toml: cannot be read"),
        (["campaign", "status", "nowhere"], "nowhere"),
        (["train", "nowhere"], "nowhere"),
        (["publish", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["predict", "no-such-phone", "--op", "linear:rows=1,in=2,out=3"], "unknown device class 'no-such-phone'"),
        (["predict", "no-such-phone", "--op", "matmul:rows=1"], "unknown type 'matmul'"),
        (["package", "download", "no-such-phone"], "unknown device class 'no-such-phone'"),
        (["package", "verify", "absent.zip"], "absent.zip"),
        (["devices", "--phone", "nonsense"], "'nonsense' is no address"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(splitfleet: Splitfleet, words: list[str], message: str) -> None:
    code, _, err = splitfleet(*words)
    assert code == 2
    assert message in err
    assert err.count("error:") == 1


def test_a_store_that_does_not_answer_is_named(splitfleet: Splitfleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, _, err = splitfleet("package", "list")
    assert code == 2
    assert "http://127.0.0.1:9" in err


def test_ctrl_c_is_answered_with_a_word(splitfleet: Splitfleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("splitfleet.pipeline.doctor.host_checks", interrupted)
    assert splitfleet("doctor") == (130, "", "interrupted; the same command goes on where it stopped\n")


@pytest.mark.parametrize("port", ["0", "70000"])
def test_a_port_that_is_none(splitfleet: Splitfleet, port: str) -> None:
    code, _, err = splitfleet("host", "start", "--port", port)
    assert code == 2
    assert "Invalid value for '--port'" in err


@pytest.mark.parametrize("text", ["[1]", '{"opencl": {}}', "{"])
def test_a_file_that_is_no_info(splitfleet: Splitfleet, tmp_path: Path, text: str) -> None:
    file = tmp_path / "info.json"
    file.write_text(text)
    code, _, err = splitfleet("kernels", "plan", "linear:rows=1,in=4,out=8", "--device", str(file))
    assert code == 2
    assert f"error: {file}: " in err
    assert "save there what `splitfleet-agent info` prints" in " ".join(err.split())


def test_a_verb_whose_extra_is_not_installed_names_it(splitfleet: Splitfleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    Path("other.db").touch()
    code, _, err = splitfleet("package", "list")
    assert code == 2
    assert "'mlflow', which is not installed" in err


def test_an_empty_registry_is_an_empty_list(splitfleet: Splitfleet) -> None:
    code, out, _ = splitfleet("package", "list", "--json")
    assert (code, json.loads(out)) == (0, [])


def test_devices_shows_a_phone_and_its_class(splitfleet: Splitfleet, start_phone: StartPhone) -> None:
    phone = start_phone()
    code, out, err = splitfleet("devices", "--phone", phone.address, "--json")
    assert code == 0, err
    (device,) = json.loads(out)
    assert device["state"] == "ready"
    assert device["device_class"].startswith("test-phone-")
    code, _, err = splitfleet("package", "download", "--phone", phone.address)
    assert code == 2
    assert f"unknown device class '{device['device_class']}'" in err


def test_devices_are_watched_until_ctrl_c(one_agent: None, start_phone: StartPhone) -> None:
    phone = start_phone()
    command = [sys.executable, "-c", "from splitfleet.pipeline.cli import main; main()", "devices", "--watch"]
    with subprocess.Popen(
        [*command, "--phone", phone.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith(f"{phone.address}  ready") for line in lines)
        phone.order("vanish", seconds=60)
        offline = next(line for line in lines if "  offline" in line)
        assert "the link broke" in offline or "check that it is on" in offline
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("description", "state", "reason"),
    [
        (PHONE.replace("always", "never"), "unauthorized", "USB debugging"),
        (PHONE + "[gpu]\nopencl = false\n", "no-opencl", "has no usable OpenCL"),
        (PHONE + "[storage]\nfree_bytes = 1000\n", "disk-full", "disk full"),
    ],
)
def test_a_phone_that_cannot_work_says_why(
    splitfleet: Splitfleet, start_phone: StartPhone, description: str, state: str, reason: str
) -> None:
    phone = start_phone(description)
    code, out, err = splitfleet("devices", "--phone", phone.address, "--json")
    assert code == 2
    (device,) = json.loads(out)
    assert device["state"] == state
    assert reason in device["reason"]
    assert phone.address not in device["reason"], "it stands beside it already"
    assert "no phone can be used" in err


def test_kernels_plan_prints_the_plan_of_a_phone(splitfleet: Splitfleet, tmp_path: Path) -> None:
    info = tmp_path / "info.json"
    info.write_text(json.dumps({**CAPABILITIES, "agent": {**CAPABILITIES["agent"], "compiler": "c++"}}))
    code, out, _ = splitfleet("kernels", "plan", "linear:rows=8,in=16,out=32,epilogue=relu", "--device", str(info))
    assert code == 0
    assert json.loads(out) == lower(Linear(8, 16, 32, "relu"), Device.from_capabilities(CAPABILITIES)).to_json()
    code, _, err = splitfleet("kernels", "plan", "linear:rows=8,in=16,out=32", "--device", str(tmp_path / "none.json"))
    assert code == 2
    assert "none.json" in err


def test_kernels_check_prints_a_table_and_names_devices_that_are_there(splitfleet: Splitfleet, runner: Runner) -> None:
    code, out, _ = splitfleet("kernels", "check", "--platform", "portable", "--cases", "3", "--seed", "5", "--json")
    assert code == 0
    assert sum(row["cases"] for row in json.loads(out)["kernels"]) == 3
    code, out, _ = splitfleet("kernels", "check", "--platform", "portable", "--cases", "1")
    assert code == 0
    assert "against NumPy" in out
    assert "ok" in out
    code, _, err = splitfleet("kernels", "check", "--device", "no such device")
    assert code == 2
    assert runner.device.name in err

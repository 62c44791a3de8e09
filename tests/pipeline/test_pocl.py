"""PoCL from the wheels, in a program that is not pyopencl."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.pocl import pocl_environment

SOURCE = "__kernel void twice(__global float *v) { v[get_global_id(0)] *= 2.0f; }"
PROBE = Path(__file__).with_name("opencl_probe.py")


def probe(folder: Path, environment: dict[str, str], local_size: int = 8) -> dict[str, Any]:
    (folder / "twice.cl").write_text(SOURCE)
    command = [sys.executable, str(PROBE), str(folder / "twice.cl"), str(local_size)]
    done = subprocess.run(
        command, env={**environment, "HOME": str(folder)}, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_native_program_gets_the_wheels_pocl_on_core_0(tmp_path: Path) -> None:
    environment = pocl_environment(tmp_path / "cache", max_work_group_size=16)
    found = probe(tmp_path, environment)
    assert found["right"]
    assert found["platforms"] == 1
    assert found["version"].startswith("OpenCL 3.0 PoCL")
    assert Path(found["library"]).parent == Path(environment["LD_LIBRARY_PATH"])
    assert (found["compute_units"], found["max_work_group_size"]) == (1, 16)
    assert [0] in found["threads"], "the thread that computes is pinned to CPU 0"
    assert any((tmp_path / "cache").rglob("*.so")), "compiled kernels are kept in the cache folder"


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_without_a_linker_ziglangs_is_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    environment = pocl_environment(tmp_path / "cache", path=str(tmp_path / "empty"))
    assert environment["PATH"].split(":") == [str(tmp_path / "cache/bin"), str(tmp_path / "empty")]
    assert probe(tmp_path, environment)["right"]


def test_what_pocl_cannot_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CPU 0 only, not to CPU 1"):
        pocl_environment(tmp_path, core=1)
    with pytest.raises(UserError, match="impossible"):
        pocl_environment(tmp_path, max_work_group_size=0)


def test_pyopencl_is_found_without_importing_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from splitfleet.pipeline.pocl import pocl_environment; "
        "pocl_environment(Path(sys.argv[1])); sys.exit('pyopencl' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=180).returncode == 0

"""Peers from PyPI, each in a virtual environment of its own that is kept between runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

_INSTALL_S = 900
_RUN_S = 600


class PeerMissing(Exception):
    """The peer cannot be had here, or does not run."""


def peer_python(name: str, requirements: tuple[str, ...]) -> Path:
    """The Python of an environment with these packages, made the first time. Raises PeerMissing.

    Kept below $SPLITFLEET_BENCH_CACHE, by default ~/.cache/splitfleet-bench.
    """
    cache = Path(os.environ.get("SPLITFLEET_BENCH_CACHE") or Path.home() / ".cache" / "splitfleet-bench")
    digest = sha256(repr((requirements, sys.version_info[:2])).encode()).hexdigest()[:12]
    folder = cache / f"{re.sub('[^a-z]+', '-', name.lower())}-{digest}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    _must([sys.executable, "-m", "venv", str(folder)], _INSTALL_S)
    _must([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], _INSTALL_S)
    (folder / "complete").touch()
    return python


def run_peer(python: Path, script: str, jobs: int) -> dict[str, float]:
    """What a script in peers/ prints: by way to work, milliseconds a job. Raises PeerMissing."""
    path = Path(__file__).parent / "peers" / script
    costs: dict[str, float] = json.loads(_must([str(python), str(path), str(jobs)], _RUN_S).splitlines()[-1])
    return costs


def _must(command: list[str], limit_s: float) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit_s, env=environment, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"{Path(command[0]).name} took over {limit_s:.0f} s") from None
    if done.returncode:
        raise PeerMissing((done.stderr.strip().splitlines() or ["it failed"])[-1][:200])
    return done.stdout

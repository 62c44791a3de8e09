"""Runs the main job on two virtual phones, by the same commands that a user types."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import typer

CAMPAIGN = Path("examples/demo.toml")
FOLDER = Path("runs/demo")
PHONES = ("phone-a", "phone-b")
_READY_TIMEOUT_S = 30.0


def main() -> None:
    """Starts the phones, then runs campaign, training and publishing, and says where everything lies."""
    # Ended by a signal, it takes the phones along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        addresses = [stack.enter_context(_virtual_phone(name)) for name in PHONES]
        phones = [word for address in addresses for word in ("--phone", address)]
        typer.echo("the first time, the agent is compiled for each phone's instruction set; that takes minutes")
        _splitfleet("devices", *phones)
        started = time.monotonic()
        _splitfleet("campaign", "run", str(CAMPAIGN), "--out", str(FOLDER), *phones)
        _splitfleet("train", str(FOLDER))
        _splitfleet("publish", str(FOLDER), *phones)
    _splitfleet("report", str(FOLDER))
    _splitfleet("package", "list")
    packages = sorted((FOLDER / "packages").glob("*.zip"))
    typer.echo(f"\nthe main job took {(time.monotonic() - started) / 60:.1f} minutes")
    typer.echo("predictor packages: " + " ".join(map(str, packages)))
    typer.echo(f"browse the models:  {_command()} ui")


def _splitfleet(*words: str) -> None:
    typer.secho(f"\n$ splitfleet {' '.join(words)}", bold=True)
    code = subprocess.run([_command(), *words], check=False).returncode
    if code:
        sys.exit(code)


def _command() -> str:
    """The console script beside this interpreter, as a user in this folder would type it."""
    script = Path(sys.executable).with_name("splitfleet")
    return str(script.relative_to(Path.cwd())) if script.is_relative_to(Path.cwd()) else str(script)


@contextmanager
def _virtual_phone(name: str) -> Iterator[str]:
    """Starts a virtual phone, yields its HOST:PORT, and ends it with everything that runs on it."""
    root = FOLDER.parent / "virtual-phones" / name
    root.mkdir(parents=True, exist_ok=True)
    ready = root / "ready"
    ready.unlink(missing_ok=True)
    with as_file(files(__package__).joinpath(f"{name}.toml")) as description, (root / "log").open("a") as log:
        words = [sys.executable, "-m", "splitfleet.infra.virtual_phone", str(description)]
        words += ["--root", str(root / "root"), "--ready-file", str(ready)]
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            yield _address(process, ready, root / "log")
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the virtual phone did not start; see {log}")
        time.sleep(0.05)
    return ready.read_text("utf-8").strip()


if __name__ == "__main__":
    main()

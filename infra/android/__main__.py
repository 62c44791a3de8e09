"""Builds the arm64-v8a agent from the pinned NDK, twice, and refuses unless both give the same bytes.

python -m splitfleet.infra.android --archive android-ndk-r27c-linux.zip --output splitfleet-agent
"""

from __future__ import annotations

import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from splitfleet.infra.android.ndk import unpack_ndk
from splitfleet.kernels.errors import HarnessError, SplitfleetError
from splitfleet.pipeline.agent_build import build_agent, export_agent


def build(
    archive: Annotated[Path, typer.Option(help="The NDK as downloaded, a zip.")],
    output: Annotated[Path, typer.Option(help="Where the program goes.")] = Path("splitfleet-agent"),
) -> None:
    """Checks the NDK, builds the agent in two folders of different names, compares, and writes it with its hash."""
    with tempfile.TemporaryDirectory(prefix="splitfleet-android-") as folder:
        ndk = unpack_ndk(archive, Path(folder))
        first, second = (
            build_agent(abi="arm64-v8a", ndk=ndk, build_root=Path(folder, name)) for name in ("a", "another")
        )
        if first.read_bytes() != second.read_bytes():
            raise HarnessError("two builds of the same sources differ: something of the build folder got in")
        export_agent(first, output)
        digest = sha256(first.read_bytes()).hexdigest()
    typer.echo(f"{digest}  {output}")


if __name__ == "__main__":
    try:
        typer.run(build)
    except SplitfleetError as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        sys.exit(1 if isinstance(error, HarnessError) else 2)

"""`splitfleet agent`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import JsonFlag, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Build the program that runs on phones.")


@app.command(epilog="Example: splitfleet agent build --abi arm64-v8a --ndk ~/android-ndk-r27c")
def build(
    abi: Annotated[
        str | None, typer.Option(help="x86_64, aarch64-linux or arm64-v8a (Android). [default: this host's]")
    ] = None,
    ndk: Annotated[Path | None, typer.Option(help="Folder of the Android NDK. [default: $ANDROID_NDK_HOME]")] = None,
    compiler: Annotated[
        str | None, typer.Option(help='C++ compiler, or "zig". [default: the system\'s for that ABI, else zig]')
    ] = None,
    isa: Annotated[str | None, typer.Option(help="Instruction set, such as x86-64-v3.")] = None,
    output: Annotated[Path | None, typer.Option(help="Also copy the program to this file.")] = None,
) -> None:
    """Build the agent for an ABI and keep it, so that campaigns find it. Does nothing where it is built already."""
    from splitfleet.pipeline.agent_build import agents_folder, build_agent, export_agent

    program = build_agent(isa, compiler, build_root=agents_folder(), abi=abi, ndk=ndk)
    if output is not None:
        export_agent(program, output)
    typer.echo(f"{output or program}: {program.stat().st_size:,} bytes, build {program.parent.name}")


@app.command("list", epilog="Example: splitfleet agent list")
def list_(json: JsonFlag = False) -> None:
    """Show the agents that are built, the newest of each ABI first. Campaigns use those of the installed sources."""
    from splitfleet.pipeline.agent_build import agents_folder, built_agents

    found = built_agents(agents_folder())
    rows = [
        {
            "abi": agent.abi,
            "isa": agent.isa,
            "build": agent.build,
            "size_bytes": agent.size_bytes,
            "compiler": agent.compiler,
            "current": agent.is_current,
            "path": str(agent.path),
        }
        for agent in found
    ]
    if json:
        print_json(rows)
    elif not rows:
        typer.echo("no agent is built yet: splitfleet agent build")
    else:
        print_table(
            f"Agents in {agents_folder()}",
            ["ABI ", "ISA ", "build ", "bytes", "sources ", "compiler "],
            [
                [
                    str(row["abi"]),
                    str(row["isa"]),
                    str(row["build"]),
                    f"{row['size_bytes']:,}",
                    "installed" if row["current"] else "older",
                    str(row["compiler"]),
                ]
                for row in rows
            ],
        )

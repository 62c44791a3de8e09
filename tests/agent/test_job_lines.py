"""Whatever a line of the job file holds, the agent answers it and goes on."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .driver import Agent, Line
from .jobs import PROGRAMS, coexec, conv2d, cpu, gpu, job, linear, sync

TEMPLATES: list[Line] = [
    cpu("x", linear(3, 4, 5)),
    cpu("x", conv2d(5, 3, 4)),
    gpu("x", 4, 4, 4),
    coexec("x", 4, 4, 8, 4),
    sync("x"),
    job("x", "compare", rounds=2, variants=[{**cpu("", linear(3, 4, 5)), "name": "cpu"}]),
]
STATUSES = {"ok", "unsupported", "invalid_job", "noisy", "out_of_resources"}

EDGES = [0, -1, 1, 2, 65, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**70, -(2**63), 1.5, 1e308]
scalars = st.none() | st.booleans() | st.sampled_from(EDGES) | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key inside a job at which something can be put."""
    if not isinstance(value, dict | list):
        return []
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def mutated_jobs(draw: st.DrawFn) -> str:
    line = copy.deepcopy(draw(st.sampled_from(TEMPLATES)))
    container, key = draw(st.sampled_from(places(line)))
    if draw(st.booleans()):
        del container[key]
    else:
        container[key] = draw(values)
    return json.dumps(line)


texts = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=30).map(str.encode)
garbage = texts | st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")) | values.map(json.dumps)
broken = st.builds(lambda line, cut: line[: len(line) * cut // 10], mutated_jobs(), st.integers(1, 9))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(garbage | broken | mutated_jobs(), max_size=30))
def test_every_line_is_answered(agent_without_opencl: Agent, lines: list[str | bytes]) -> None:
    """Without OpenCL: a plan that passes the checks may still name wrong numbers, which a kernel would follow."""
    agent = agent_without_opencl.with_environment(SPLITFLEET_MAX_BYTES="10000000", SPLITFLEET_GRACE_S="5")
    for leftover in agent.folder.glob("results.*"):
        leftover.unlink()
    results = agent.run([*PROGRAMS, *lines, cpu("last", linear(2, 2, 2))])
    assert {result["status"] for result in results.values()} <= STATUSES
    assert results["last"]["status"] == "ok"
    assert list(results)[-1] == "last"


def test_lines_without_a_usable_id_are_named_by_number(agent_without_opencl: Agent) -> None:
    odd = [{**cpu("", linear(2, 2, 2)), "id": name} for name in ("", "a b", "../x", "x" * 201, "line\nfeed")]
    results = agent_without_opencl.run(["{", *odd, "[]", "", b"\xff\xfe", "[" * 100_000])
    assert list(results) == [f"line-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
    assert {result["status"] for result in results.values()} == {"invalid_job"}


def test_lines_beyond_all_bounds_are_answered(agent_without_opencl: Agent) -> None:
    line = json.dumps(cpu("deep", {**linear(1, 2, 2), "rows": 0}))
    deep = line.replace('"rows": 0', '"rows": ' + "[" * 100_000 + "]" * 100_000)
    long = b'{"type": "job", "id": "' + b"x" * (33 * 2**20) + b'"}'
    results = agent_without_opencl.run([deep, long, cpu("next", linear(2, 2, 2))])
    assert list(results) == ["line-1", "line-2", "next"]
    assert "nest deeper than 32 levels" in results["line-1"]["error"]
    assert "longer than 33554432 bytes" in results["line-2"]["error"]


def test_an_id_is_answered_once(agent_without_opencl: Agent) -> None:
    same = cpu("same", linear(2, 2, 2))
    agent_without_opencl.run([same, same])
    assert [line["type"] for line in agent_without_opencl.read()] == [
        "agent",
        "telemetry",
        "result",
        "telemetry",
        "end",
    ]

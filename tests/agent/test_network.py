"""Whole networks: every variant makes the same tensors, whatever is split, and a wrong one is never timed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from splitfleet.kernels import Conv2d, Device, Linear, Network, Operator, Pool2d
from splitfleet.kernels.network import Node
from splitfleet.kernels.programs import Program
from splitfleet.pipeline.network_lowering import LoweredNetwork, lower_network
from splitfleet.predictors.split_table import SplitDecision, SplitEntry, SplitTable

from .driver import Agent, Line

VARIANTS = ["cpu", "gpu", "split", "gpu_event", "gpu_poll", "split_event", "split_poll", "glue"]


def op(name: str, operator: Operator, *inputs: str) -> Node:
    shape = (1, *operator.output_shape)
    return Node(name, operator.type, operator.type, inputs, (name,), (shape,), operator.flops, operator)


def glue(name: str, kind: str, shape: tuple[int, ...], *inputs: str, **attributes: Any) -> Node:
    return Node(name, kind, kind, inputs, (name,), (shape,), 0, None, attributes)


def residual_network() -> Network:
    """Convolutions with a shortcut, a pool and a classifier."""
    nodes = (
        op("stem", Conv2d(12, 12, 3, 16, 3, 3, 1, 1, 1, "relu"), "image"),
        op("pool", Pool2d("max", 12, 12, 16, 3, 3, 2, 1, 1), "stem"),
        op("a", Conv2d(6, 6, 16, 24, 1, 1, 1, 0, 0, "relu"), "pool"),
        op("b", Conv2d(6, 6, 24, 16, 3, 3, 1, 1, 1, "add_relu"), "a", "pool"),
        op("mean", Pool2d("avg", 6, 6, 16, 6, 6, 1, 0, 0), "b"),
        glue("flat", "reshape", (1, 16), "mean"),
        op("scores", Linear(1, 16, 20), "flat"),
    )
    return Network("residual", nodes, {"image": (1, 12, 12, 3)}, ("scores",))


def attention_network() -> Network:
    """A transformer's block with every kind of glue."""
    nodes = (
        op("patches", Conv2d(8, 8, 3, 16, 4, 4, 4, 0, 0), "image"),
        glue("rows", "reshape", (1, 4, 16), "patches"),
        glue("tokens", "concat", (1, 5, 16), "rows", axis=1, constants=[{"position": 0, "shape": [1, 1, 16]}]),
        glue("x", "add", (1, 5, 16), "tokens", constants=[{"position": 1, "shape": [1, 5, 16]}]),
        glue("norm", "layer_norm", (1, 5, 16), "x", axis=2, epsilon=1e-6),
        op("qkv", Linear(5, 16, 48), "norm"),
        glue("apart", "reshape", (1, 5, 3, 2, 8), "qkv"),
        glue("heads", "transpose", (3, 1, 2, 5, 8), "apart", perm=[2, 0, 3, 1, 4]),
        *(glue(name, "gather", (1, 2, 5, 8), "heads", axis=0, index=index) for index, name in enumerate("qkv"[:3])),
        glue("scaled", "mul", (1, 2, 5, 8), "q", constants=[{"position": 1, "shape": []}]),
        glue("scores", "matmul", (1, 2, 5, 5), "scaled", "k", transpose_b=True),
        glue("weights", "softmax", (1, 2, 5, 5), "scores", axis=3),
        glue("mixed", "matmul", (1, 2, 5, 8), "weights", "v", transpose_b=False),
        glue("back", "transpose", (1, 5, 2, 8), "mixed", perm=[0, 2, 1, 3]),
        glue("together", "reshape", (1, 5, 16), "back"),
        op("attended", Linear(5, 16, 16, "add"), "together", "x"),
        op("wide", Linear(5, 16, 64), "attended"),
        glue("gelu", "gelu", (1, 5, 64), "wide", approximate="none"),
        op("out", Linear(5, 64, 16, "add"), "gelu", "attended"),
        glue("first", "slice", (1, 1, 16), "out", starts=[0, 0, 0], stops=[1, 1, 16], steps=[1, 1, 1]),
    )
    return Network("attention", nodes, {"image": (1, 8, 8, 3)}, ("first",))


def table_of(network: Network, processors: str) -> SplitTable:
    """A decision for each operator, the processors in turn: c, g or s."""
    entries = []
    for index, operator in enumerate(dict.fromkeys(network.operators)):
        figures = (9.0, 8.0, 10.0, 20.0, 1, 20.0, "svm_poll")
        processor = processors[index % len(processors)]
        if processor == "s":
            decision = SplitDecision(operator, "split", 4 * (operator.channels // 8), 1, "svm_poll", *figures)  # type: ignore[arg-type]
        elif processor == "g":
            decision = SplitDecision(operator, "gpu", 0, 0, "svm_poll", *figures)  # type: ignore[arg-type]
        else:
            decision = SplitDecision(operator, "cpu", operator.channels, 1, None, *figures)  # type: ignore[arg-type]
        entries.append(SplitEntry(decision))
    return SplitTable.of("phone", "eigen", entries)


def lowered(agent: Agent, network: Network, processors: str = "s") -> LoweredNetwork:
    profile = SimpleNamespace(
        device=Device.from_capabilities(agent.info()), conditions=SimpleNamespace(precision="fp32"), tuning=None
    )
    return lower_network(network, table_of(network, processors), profile)  # type: ignore[arg-type]


def lines(programs: Iterable[Program]) -> list[Line]:
    """What a job file says of these programs."""
    different = dict.fromkeys(programs)
    return [{"type": "program", "id": each.id, "source": each.source, "options": each.options} for each in different]


def network_job(name: str, body: Line, **changes: Any) -> Line:
    given = {"rounds": 2, "threads": 1, "core_mask": 2, "backend": "eigen", "join": "svm_poll", "network": body}
    return {"type": "job", "schema": 2, "id": name, "kind": "network", **given, **changes}


@pytest.mark.parametrize("network", [residual_network(), attention_network()], ids=lambda network: network.name)
def test_all_variants_make_the_same_tensors(agent: Agent, network: Network) -> None:
    ways = {processors: lowered(agent, network, processors) for processors in ("s", "c", "g", "sgc", "gs")}
    given = [program for way in ways.values() for program in way.programs]
    jobs = [
        network_job(f"{processors}-{join}", way.body, join=join)
        for processors, way in ways.items()
        for join in (["svm_poll", "event_wait", "finish"] if processors == "sgc" else ["svm_poll"])
    ]
    results = agent.run([*lines(given), *jobs])
    assert len(results) == len(jobs)
    for result in results.values():
        # A busy machine may spoil the times, after all was compared.
        assert result["status"] in ("ok", "noisy"), result
        if result["status"] == "noisy":
            assert "rounds survived" in result["error"]
            continue
        assert [variant["name"] for variant in result["variants"]] == VARIANTS
        assert all(len(variant["samples"]["wall_ns"]) == 2 for variant in result["variants"])
        errors = [variant["max_relative_error"] for variant in result["variants"]]
        assert errors[0] == 0
        assert 0 <= max(errors[1:-1]) < 1e-4
        assert errors[-1] is None
        nodes = {each["name"]: each for each in result["nodes"]}
        assert list(nodes) == VARIANTS
        described = ways[result["id"].split("-")[0]].body["nodes"]
        is_operator = ["operator" in node for node in described]
        for name, times in nodes.items():
            on_cpu, on_gpu = ([each is not None for each in times[key]] for key in ("cpu_ns", "gpu_ns"))
            if name == "cpu":
                assert all(on_cpu)
                assert not any(on_gpu)
            elif name == "glue":
                assert on_cpu == [not each for each in is_operator]
                assert not any(on_gpu)
            elif name.startswith("gpu"):
                assert on_gpu == is_operator
                assert on_cpu == [not each for each in is_operator]
            else:
                assert all(cpu or gpu for cpu, gpu in zip(on_cpu, on_gpu, strict=True))
                assert [gpu for gpu, each in zip(on_gpu, is_operator, strict=True) if not each].count(True) == 0


def test_a_wrong_result_is_not_timed(agent: Agent) -> None:
    """A plan that is told too few input features, so the GPU's part is computed wrong."""
    way = lowered(agent, residual_network())
    (wrong,) = [plan for plan in way.plans if plan.quantities["k"] == 16 and plan.quantities["m"] == 1][:1]
    index = way.plans.index(wrong)
    launch = wrong.launches[0]
    args = tuple({"i32": 8} if arg == {"i32": 16} else arg for arg in launch.args)
    body = {**way.body, "plans": list(way.body["plans"])}
    body["plans"][index] = replace(wrong, launches=(replace(launch, args=args), *wrong.launches[1:])).to_json()
    result = agent.run([*lines(way.programs), network_job("wrong", body)])["wrong"]
    assert result["status"] == "wrong_result", result
    assert "differs from all-CPU's" in result["error"]
    assert "variants" not in result


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("nodes", 0, "inputs"), [99], "no such tensor"),
        (("nodes", 0, "inputs"), [3], "nothing has made yet"),
        (("nodes", 0, "output"), 0, "an input or a constant"),
        (("nodes", 0, "gpu"), 99, "no such plan"),
        (("nodes", 0, "gpu"), 2, "plan.buffers"),
        (("nodes", 0, "cut"), 17, "outside 0 to 16"),
        (("tensors", 1, "floats"), 7, "a tensor of fewer than"),
        (("gate", "program"), "none", "no program none"),
        (("split_table",), "00", "not a binary split table"),
        (("split_table",), "zz", "hexadecimal"),
        (("tolerance",), 0.5, "outside"),
        (("nodes",), [], "empty"),
    ],
)
def test_what_is_no_network_is_named(agent: Agent, where: tuple[Any, ...], value: Any, message: str) -> None:
    way = lowered(agent, residual_network())
    *path, last = where
    target: Any = way.body
    for step in path:
        target = target[step]
    target[last] = value
    result = agent.run([*lines(way.programs), network_job("bad", way.body)])["bad"]
    assert result["status"] == "invalid_job", result
    assert message in result["error"]


def test_a_device_without_shared_virtual_memory_is_told(agent: Agent) -> None:
    way = lowered(agent, residual_network())
    without = agent.with_environment(SPLITFLEET_DISABLE_SVM="1")
    result = without.run([*lines(way.programs), network_job("n", way.body, join="finish")])["n"]
    assert result["status"] == "unsupported"
    assert "fine-grained SVM" in result["error"]

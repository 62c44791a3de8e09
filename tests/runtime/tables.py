"""Random split tables and shapes, always the same for a seed."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

from splitfleet.kernels import EPILOGUES, Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d
from splitfleet.predictors.split_table import JOINS, RowRange, SplitDecision, SplitEntry, SplitTable

_FEATURES = [8, 24, 64, 96, 100, 256, 768, 3072]


def random_operator(choice: random.Random) -> Operator:
    kind = choice.choice(["linear", "linear", "conv", "depthwise", "pool"])
    epilogue = choice.choice(EPILOGUES)
    if kind == "linear":
        return Linear(choice.randint(1, 500), choice.choice(_FEATURES), choice.choice(_FEATURES), epilogue)
    side, channels, kernel = choice.choice([7, 14, 28, 56]), choice.choice(_FEATURES), choice.choice([1, 3])
    window = (kernel, kernel, choice.choice([1, 2]), kernel // 2, kernel // 2)
    if kind == "conv":
        return Conv2d(side, side, choice.randint(1, 300), channels, *window, epilogue)
    if kind == "depthwise":
        return DepthwiseConv2d(side, choice.randint(7, 60), 4 * choice.randint(1, 200), *window, epilogue)
    return Pool2d(choice.choice(["max", "avg"]), side, choice.randint(7, 60), channels, *window)


def random_table(entries: int, seed: int) -> SplitTable:
    """Exact entries of all kinds, and for every tenth of them a linear layer with up to four ranges of rows."""
    choice = random.Random(seed)
    found: dict[object, SplitEntry] = {}
    layers: set[Linear] = set()
    while len(found) < entries:
        operator = random_operator(choice)
        found[operator] = SplitEntry(_decision(operator, choice))
        layer = Linear(1, choice.choice(_FEATURES), 4 * choice.randint(1, 900), choice.choice(EPILOGUES))
        if choice.random() < 0.1 and layer not in layers:
            layers.add(layer)
            for low, high in pairwise(sorted(choice.sample(range(1, 2048), 5))):
                shape = replace(layer, rows=choice.randint(low, high - 1))
                # Behind some ranges there is a gap.
                rows = RowRange(low, high - 1 if choice.random() < 0.8 else shape.rows)
                found[(layer, low)] = SplitEntry(_decision(shape, choice), rows=rows)
    return SplitTable.of("phone", "eigen", found.values())


def _decision(operator: Operator, choice: random.Random) -> SplitDecision:
    channels = operator.channels
    cpu_threads, gpu_join = choice.randint(1, 8), choice.choice(JOINS)
    figures = [choice.uniform(1, 1e6) for _ in range(5)]
    ways = [("cpu", channels, cpu_threads, None), ("gpu", 0, 0, gpu_join)]
    if channels > 4:
        split = ("split", 4 * choice.randint(1, (channels - 1) // 4), choice.randint(1, 8), choice.choice(JOINS))
        ways += [split, split]
    processor, cut, threads, join = choice.choice(ways)
    return SplitDecision(operator, processor, cut, threads, join, *figures[:4], cpu_threads, figures[4], gpu_join)  # type: ignore[arg-type]


def random_shapes(table: SplitTable, count: int, seed: int) -> list[Operator]:
    """Half of them entries' own shapes, most with other rows; the rest at random."""
    choice = random.Random(seed)
    shapes: list[Operator] = []
    for _ in range(count // 2):
        operator = choice.choice(table.entries).decision.operator
        if isinstance(operator, Linear) and choice.random() < 0.8:
            operator = replace(operator, rows=choice.randint(1, 2100))
        shapes.append(operator)
    return shapes + [random_operator(choice) for _ in range(count - len(shapes))]

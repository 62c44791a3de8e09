"""`python -m splitfleet.infra.probes examples/probes.toml > pipeline/probes.toml`: the list of shapes to probe.

Candidates are what a campaign of that file would measure. Per type of operator the centres of k-means over the
logarithms of sizes and work are taken, as many as SHARES says. They are put into an order in which each is as far from
all before it as can be, and types come in turn, so that a shorter list is spread as well.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from splitfleet.kernels import Operator, describe_many
from splitfleet.kernels.operators import Linear
from splitfleet.pipeline.campaign import load_campaign
from splitfleet.pipeline.sampling import sample_operators
from splitfleet.predictors.probing import centres, spread

SHARES = {"conv2d": 50, "linear": 24, "depthwise_conv2d": 20, "pool2d": 6}
COLUMNS = ("m", "n", "k", "in_channels", "in_height", "kernel_h", "stride", "flops")
_NAMES = {"height": "height", "width": "width", "channels": "channels", "in_channels": "in", "out_channels": "out"}


def probe_list(campaign: Path) -> list[Operator]:
    """100 operators, the most telling ones first."""
    candidates = sample_operators(load_campaign(campaign))
    placed: list[tuple[float, Operator]] = []
    for kind, count in SHARES.items():
        operators = [operator for operator in candidates if operator.type == kind]
        table = describe_many(operators)
        chosen = centres(table, count, COLUMNS)
        order = chosen[spread(table.iloc[chosen], COLUMNS)]
        placed += [((place + 0.5) / count, operators[row]) for place, row in enumerate(order)]
    return [operator for _, operator in sorted(placed, key=lambda item: (item[0], item[1].type))]


def layer_text(number: int, operator: Operator) -> str:
    """The operator as a [[layers]] table."""
    fields: dict[str, object] = {"name": f"probe{number:03}", "type": operator.type}
    if isinstance(operator, Linear):
        fields |= {"rows": operator.rows, "in": operator.in_features, "out": operator.out_features}
    else:
        data = operator.to_json()
        fields |= {name: data[key] for key, name in _NAMES.items() if key in data}
        fields |= {"mode": data["mode"]} if "mode" in data else {}
        fields |= {"kernel": [data["kernel_h"], data["kernel_w"]], "stride": data["stride"]}
        fields |= {"padding": [data["pad_h"], data["pad_w"]]}
    return "[[layers]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


if __name__ == "__main__":
    print("# Shapes on which a new phone is probed (docs/adopt.md), the most telling ones first. Made by:")
    print(f"# python -m splitfleet.infra.probes {sys.argv[1]} > pipeline/probes.toml\n")
    listed = enumerate(probe_list(Path(sys.argv[1])), 1)
    print("\n".join(layer_text(number, operator) for number, operator in listed), end="")

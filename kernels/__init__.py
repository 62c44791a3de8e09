"""What is timed: operators, their OpenCL kernels, and lowering (operator + device -> launch plan)."""

from .device import Device
from .errors import DeviceError, HarnessError, SplitfleetError, UserError
from .lowering import lower, lower_channels, lower_half, lower_many, lower_sync, work_group_candidates
from .network import Network, Node
from .operator_text import operator_from_json, parse_operator
from .operators import (
    CUT_MULTIPLE,
    EPILOGUES,
    Conv2d,
    DepthwiseConv2d,
    Linear,
    Operator,
    Pool2d,
    cuts,
    slice_output,
)
from .plan import Buffer, Launch, LaunchPlan
from .precision import PRECISIONS, Precision
from .programs import Program, program_for
from .reference import pack_weights, reference
from .tables import describe_channels, describe_many
from .tuning import Trial, TunedChoice, Tuning

__all__ = [
    "CUT_MULTIPLE",
    "EPILOGUES",
    "PRECISIONS",
    "Buffer",
    "Conv2d",
    "DepthwiseConv2d",
    "Device",
    "DeviceError",
    "HarnessError",
    "Launch",
    "LaunchPlan",
    "Linear",
    "Network",
    "Node",
    "Operator",
    "Pool2d",
    "Precision",
    "Program",
    "SplitfleetError",
    "Trial",
    "TunedChoice",
    "Tuning",
    "UserError",
    "cuts",
    "describe_channels",
    "describe_many",
    "lower",
    "lower_channels",
    "lower_half",
    "lower_many",
    "lower_sync",
    "operator_from_json",
    "pack_weights",
    "parse_operator",
    "program_for",
    "reference",
    "slice_output",
    "work_group_candidates",
]

"""The rules of Adreno, Mali and PowerVR GPUs: those of the LiteRT GPU delegate, as far as our kernels can follow them.

The delegate's own rules, with their thresholds by generation and their sources, are in `kernels/litert`; here they
are asked and their answers carried over to our kernels:

* family: its Winograd is our `winograd`, its constant-memory convolution `conv_constant`, its fully connected kernel
  `matvec`, which we take up to 8 rows. Its generic convolution is `matmul` where pointwise, else `conv_direct`; on
  Adreno it is `conv_image` for 16 output channels and more, since there 3x3 convolutions read images 3.5 times as fast
  as buffers (Jia et al., "CoDL", MobiSys 2022), while Mali is no faster with them. Our tensors lie in buffers, and each
  input value that is copied into the image must be read often enough to pay for it;
* block: x by y pixels of a number of slices of four channels become as many rows, and a panel of as many channels, at
  most 16. A work-item of a depthwise convolution or a pooling computes one pixel of one slice;
* work-group: on Adreno and Mali as deep along channels as a divisor of the panels allows, then along rows up to 256;
  on PowerVR 32 along rows.

Compute units are those that OpenCL reports. A model that the delegate does not know is taken for one that it does: an
Adreno for another one of its hundred, else for the newest of its vendor.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..device import Device
from ..errors import UserError
from ..litert.blocks import choose_blocks
from ..litert.choice import CONV_CONSTANTS, WINOGRAD, choose_kernels
from ..litert.gpu import LitertGpu
from ..litert.work_groups import conv_groups
from ..precision import Precision
from ..tables import Columns
from . import possible
from .base import Block, Ints, Rules, power_of_two, round_up

_SLICE = 4
_WIDEST_PANEL = 16
_POWERVR_WORK_GROUP = 32
_DEEPEST = 64  # work-items along channels
_IMAGE_CHANNELS = 16
_NEWEST = {"adreno": "Adreno 750", "mali": "Mali-G715", "powervr": "PowerVR DXT"}


class DelegateRules(Rules):
    """The delegate's rules for Mali and PowerVR, and all of Adreno's but its images."""

    def __init__(self, device: Device, precision: Precision) -> None:
        super().__init__(device, precision)
        self.gpu = _known_gpu(device)

    def preferred(self, shapes: Columns) -> dict[str, NDArray[np.bool_]]:
        choice = np.full(len(shapes["m"]), "")
        if shapes["is_conv"].any():
            choice = choose_kernels(_as_delegate_sees(shapes), self.gpu, self.precision)
        device, precision = self.device, self.precision
        return {
            "matvec": possible.matvec(shapes),
            "winograd": possible.winograd(shapes, device, precision) & (choice == WINOGRAD),
            "conv_constant": possible.conv_constant(shapes, device, precision) & (choice == CONV_CONSTANTS),
        }

    def block(self, shapes: Columns, m: Ints | None = None, copies: int = 1) -> Block:
        m = shapes["m"] if m is None else m
        slices = -(-shapes["n"] // _SLICE)
        frame = pd.DataFrame({"width": m, "height": 1, "batch": copies, "slices": slices})
        frame["pointwise"] = 1 if copies > 1 else shapes["pointwise"]
        blocks = choose_blocks(frame, self.gpu, self.precision)
        # A panel is 4, 8 or 16 columns, and none is wider than the layer.
        wide = power_of_two(np.minimum(blocks.slices, _WIDEST_PANEL // _SLICE))
        panel = _SLICE * np.minimum(wide, power_of_two(slices))
        channel_wise = shapes["is_depthwise"] + shapes["is_maxpool"] + shapes["is_avgpool"] == 1
        return Block(np.where(channel_wise, 1, blocks.x * blocks.y), np.where(channel_wise, _SLICE, panel))

    def work_group(self, gx: Ints, gy: Ints) -> tuple[Ints, Ints]:
        lx, ly = self._delegates_work_group(gx, gy)
        widest, highest = self.device.max_work_item_sizes[:2]
        fits = (ly >= 1) & (lx <= widest) & (ly <= highest) & (lx * ly <= self.device.max_work_group_size)
        plain_lx, plain_ly = super().work_group(gx, gy)
        return np.where(fits, lx, plain_lx), np.where(fits, ly, plain_ly)

    def _delegates_work_group(self, gx: Ints, gy: Ints) -> tuple[Ints, Ints]:
        if self.gpu.vendor == "powervr":
            return np.ones_like(gx), power_of_two(np.minimum(gy, _POWERVR_WORK_GROUP))
        groups = conv_groups(np.stack([gy, np.ones_like(gy), gx], axis=1), self.gpu)
        return groups[:, 2], groups[:, 0]


class AdrenoRules(DelegateRules):
    """The delegate's rules, and images in place of buffers where their copies pay."""

    def preferred(self, shapes: Columns) -> dict[str, NDArray[np.bool_]]:
        images = possible.conv_image(shapes, self.device) & (shapes["n"] >= _IMAGE_CHANNELS)
        return {"conv_image": images, **super().preferred(shapes)}


def _known_gpu(device: Device) -> LitertGpu:
    vendor, generation = device.vendor_family, device.generation
    names = [f"{vendor} {generation}", f"{vendor} {generation[:1]}30", _NEWEST[vendor]]
    for name in names:
        try:
            gpu = LitertGpu.from_name(name)
        except UserError:
            continue
        if gpu.vendor == vendor:
            break
    # With less room than this the delegate's work-group has no item left along rows; `work_group` sees to that.
    largest = max(device.max_work_group_size, _DEEPEST)
    return replace(gpu, compute_units=device.compute_units, max_work_group_size=largest)


def _as_delegate_sees(shapes: Columns) -> pd.DataFrame:
    """The shapes with batch, width, height and slices, as `litert.shapes.describe` has them."""
    linear = sum(shapes[f"is_{kind}"] for kind in ("conv", "depthwise", "maxpool", "avgpool")) == 0
    return pd.DataFrame(shapes).assign(
        batch=np.where(linear, shapes["m"], 1),
        width=np.where(linear, 1, shapes["out_width"]),
        height=np.where(linear, 1, shapes["m"] // shapes["out_width"]),
        slices=round_up(shapes["n"], _SLICE) // _SLICE,
        source_slices=round_up(shapes["in_channels"], _SLICE) // _SLICE,
    )

"""Kernel families: one module each, holding one `Family` object; the OpenCL source is `sources/<family>.cl`.

A family answers two questions (see `base.Family`):

* `choose(shapes, rules)`, vectorised over a table of shapes: block, grid, work-group and what they cost;
* `assemble(request)`, for one operator: the buffers, the setup launches and the launches of its plan.

Everything else is common and done by `lowering`: kernel names and programs, tuned work-groups, quantities that follow
from grid and block, the conversion of an fp32 input for a half, the signal behind the last launch, limits.
Which family an operator gets is decided by `splitfleet.kernels.rules`, never by the family.

To add one: write `sources/<family>.cl` against the names that `sources/common.cl` explains, a module here with a
subclass of `Family`, and put its object into `FAMILIES`; then let a vendor's rules choose it. Letters of its block
are explained in `programs._BLOCK_MACROS`. `kernels.check` then checks it in every precision, epilogue and cut.
"""

from .base import Assembly, Choice, Family, Request, arguments
from .channel_wise import AVGPOOL, DEPTHWISE, MAXPOOL
from .conv_constant import CONV_CONSTANT
from .conv_direct import CONV_DIRECT
from .conv_image import CONV_IMAGE
from .matmul import MATMUL
from .matmul_tiled import MATMUL_TILED
from .matvec import MATVEC
from .winograd import WINOGRAD

_ALL = (MATMUL, MATMUL_TILED, MATVEC, CONV_DIRECT, CONV_CONSTANT, CONV_IMAGE, WINOGRAD, DEPTHWISE, MAXPOOL, AVGPOOL)
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}

__all__ = ["FAMILIES", "Assembly", "Choice", "Family", "Request", "arguments"]

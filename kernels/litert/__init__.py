"""How the LiteRT (TensorFlow Lite) GPU delegate dispatches operators on Adreno, Mali, PowerVR and Apple GPUs.

A second lowering beside our own, for traces measured with that runtime. See docs/litert.md.
"""

from .gpu import PRECISIONS, LitertGpu, known_gpus
from .lowering import lower_many

__all__ = ["PRECISIONS", "LitertGpu", "known_gpus", "lower_many"]

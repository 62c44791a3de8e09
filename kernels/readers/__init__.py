"""Model files as networks: .tflite and .onnx, read with the formats' own packages (`pip install splitfleet[models]`).

Only shapes and attributes are read, never weights. What every reader does is in docs/networks.md.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Network

_PACKAGES = {".tflite": "tflite", ".onnx": "onnx"}


def read_network(path: Path) -> Network:
    """The network in a file whose name ends in .tflite or .onnx, at batch 1.

    Raises UserError naming the file: when it cannot be read or is no such model, when a tensor's shape is open (naming
    the tensor), and when the package that reads the format is not installed.
    """
    package = _PACKAGES.get(path.suffix.lower())
    if package is None:
        raise UserError(f"{path}: expected a model file whose name ends in {' or '.join(_PACKAGES)}")
    if find_spec(package) is None:
        raise UserError(f"{path}: reading it needs the package {package}: pip install 'splitfleet[models]'")
    try:
        if package == "tflite":
            from .tflite_file import read_tflite

            return read_tflite(path)
        from .onnx_file import read_onnx

        return read_onnx(path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error

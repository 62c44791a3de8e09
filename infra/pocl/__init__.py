"""PoCL from the PyPI wheels, for native programs: no root, no system OpenCL, no compiler needed."""

from splitfleet.infra.pocl.environment import pocl_environment

__all__ = ["pocl_environment"]

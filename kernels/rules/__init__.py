"""Rules by vendor and generation: which family, block and work-group an operator gets on a GPU."""

from .base import Rules, rules_for

__all__ = ["Rules", "rules_for"]

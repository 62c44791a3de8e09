"""What every table of a campaign file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of a campaign file. Keys that it does not know, and values of another type, are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)

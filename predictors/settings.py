"""The booster's settings for each group of LiteRT's operators, where a search found better ones than the design's.

`settings.json` is what `python -m tests.bench.search_boosters` wrote, with the budget that docs/predictors.md states.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

SETTINGS_FILE = Path(__file__).resolve().with_name("settings.json")


@cache
def searched_settings() -> dict[str, dict[str, Any]]:
    """What takes the place of the design's settings, by group of operators; without groups that the design serves."""
    return dict(json.loads(SETTINGS_FILE.read_text("utf-8")))

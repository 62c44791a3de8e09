"""How near plans come to exhaustive search: all layers of ResNet-50 and ViT-B/16 on one virtual phone, in one run.

Campaign, training, calibration, search, and the comparison in which plan, winner and both processors take turns.
SPLITFLEET_REGRET_FOLDER keeps the campaign's folder, and a second run goes on with what is there.
SPLITFLEET_REGRET_SEARCH is how many layers are searched, in how many cuts ("12,20"): all layers take half an hour.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from ..infra.phones import running_phone

REPOSITORY = Path(__file__).parents[2]
NETWORKS = ("resnet50.toml", "vit_b16.toml")
CAMPAIGN = """
name = "regret"
seed = 7
[measure]
samples = { linear = 40, conv2d = 80, pool2d = 4 }
transfers = []
[measure.repeat]
warmup = 2
min_count = 9
min_time_us = 10000
max_count = 40
max_time_us = 150000
[publish]
validate_layers = 100
search_layers = LAYERS
search_cuts = CUTS
"""


def bench_regret() -> None:
    with ExitStack() as stack:
        given = os.environ.get("SPLITFLEET_REGRET_FOLDER")
        root = Path(given or stack.enter_context(TemporaryDirectory(prefix="bench-regret-"))).absolute()
        root.mkdir(parents=True, exist_ok=True)
        _write_campaign(root)
        description = (REPOSITORY / "infra" / "demo" / "phone-a.toml").read_text("utf-8")
        phone = stack.enter_context(running_phone(root / "phone", description, pocl_cache=None))
        _splitfleet(root, "campaign", "run", "regret.toml", "--out", "run", "--phone", phone.address)
        _splitfleet(root, "train", "run")
        _splitfleet(root, "publish", "run", "--phone", phone.address)
        _splitfleet(root, "report", "run")
        _splitfleet(root, "report", "run", "--html")


def _write_campaign(root: Path) -> None:
    layers, _, cuts = os.environ.get("SPLITFLEET_REGRET_SEARCH", "12,20").partition(",")
    text = CAMPAIGN.replace("LAYERS", layers).replace("CUTS", cuts or "20")
    for name in NETWORKS:
        shutil.copy(REPOSITORY / "examples" / name, root / name)
        text += f'[[layers]]\ninclude = "{name}"\n'
    (root / "regret.toml").write_text(text, "utf-8")


def _splitfleet(root: Path, *words: str) -> None:
    program = "from splitfleet.pipeline.cli import main; main()"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}"}
    subprocess.run([sys.executable, "-c", program, *words], cwd=root, env=environment, check=True)

"""The HTML page: what it says, and that it needs nothing else. How it looks is looked at, not tested."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from splitfleet.kernels import Linear
from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.campaign import Repeat
from splitfleet.pipeline.cli import app
from splitfleet.pipeline.jobs import JobFactory
from splitfleet.pipeline.page import headline, html_report, save_html_report
from splitfleet.pipeline.page_charts import channels_chart, speedup_bars
from splitfleet.pipeline.publishing import PUBLISHED
from splitfleet.pipeline.splits import layer_rows, split_figures

from .limits import files_up_to
from .profiles import profile
from .test_report import RECORD, fill
from .test_splits import PROVED, TABLE


class Links(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in ("src", "href", "data", "xlink:href")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make = JobFactory(profile("<Phone & Co>"), Repeat())
    name = make.profile.device_class
    (tmp_path / PUBLISHED).mkdir()
    (tmp_path / PUBLISHED / f"{name}.json").write_text(json.dumps(RECORD))
    failed = {"status": "timeout", "error": "no answer within 3 s"}
    fill(tmp_path, make.profile, [(make.cpu(Linear(8, 64, 8), 1), failed)])
    return tmp_path


def test_the_page_tells_all_and_loads_nothing(folder: Path) -> None:
    text = html_report(folder)
    links = Links()
    links.feed(text)
    assert links.found == []
    assert "url(" not in text
    assert "@import" not in text
    assert "&lt;Phone &amp; Co&gt;" in text, "what phones say is no markup"
    assert "made 1 of 2 shared layers faster" in text
    assert "measured slower than all-CPU: 20.0 µs against 18.0 µs" in text
    assert "no answer within 3 s" in text
    assert text.count('class="layer"') == len(PROVED)
    assert "prefers-color-scheme: dark" in text


def test_the_headline_says_it_in_words() -> None:
    found = {"splits": split_figures(TABLE, PROVED), "predictors": {}, "done": 3, "jobs": 4}
    assert headline(found).startswith("Sharing layers between GPU and CPU made 1 of 2 shared layers faster")
    assert "5.3 % longer than the best" in headline(found)
    assert headline({**found, "splits": None}) == "3 of 4 measurements are done."
    none = split_figures(TABLE, PROVED[3:])
    assert (
        headline({**found, "splits": none}) == "None of 2 measured layers was planned to be shared between GPU and CPU."
    )


def test_bars_are_sorted_and_marked() -> None:
    bars = speedup_bars(layer_rows(PROVED))
    widths = [bar.width for bar in bars.bars]
    assert widths == sorted(widths, reverse=True)
    assert [bar.plan for bar in bars.bars] == ["fault", "split", "gpu", "gpu", "split"]
    assert [bar.is_loss for bar in bars.bars] == [False, False, False, False, True]
    assert all(0 <= bar.width <= 100 and 0 <= bar.predicted_at <= 100 for bar in bars.bars)


def test_a_chart_s_points_lie_within_it() -> None:
    curves = {"cpu": ("CPU", [4, 8], [10.0, 2000.0]), "gpu": ("GPU", [0, 4], [900.0, 500.0])}
    chart = channels_chart("x", curves, {0: 950.0, 4: 620.0, 8: 2100.0}, 4)
    assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in chart.dots)
    assert chart.plan_at is not None
    assert chart.left < chart.plan_at < chart.right
    assert chart.y_ticks[0].text == "0"


def test_the_verb_writes_the_page(folder: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(folder), "--html"])
    assert result.exit_code == 0, result.output
    assert (folder / "report.html").read_text("utf-8") == html_report(folder)


@pytest.mark.parametrize("name", ["reports", "."])
def test_a_page_for_which_a_folder_is_named_is_refused_and_leaves_nothing(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "reports").mkdir()
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=r"cannot be written, for it is a folder; name a file in it"):
        save_html_report(folder, Path(name))
    assert sorted(folder.rglob("*")) == before


def test_a_page_that_finds_no_room_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "reports" / "page.html"
    page.parent.mkdir()
    page.write_text("old")
    # Reading a campaign takes room too: its ledger is a database.
    monkeypatch.setattr("splitfleet.pipeline.page.html_report", lambda _: "new")
    with files_up_to(1), pytest.raises(UserError, match=r"page\.html: cannot be written"):
        save_html_report(tmp_path, page)
    assert page.read_text() == "old"
    assert list(page.parent.iterdir()) == [page]
    with pytest.raises(UserError, match="cannot be written"):
        save_html_report(tmp_path, page / "page.html")

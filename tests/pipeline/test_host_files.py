"""Files of the host are written whole or not at all; where that cannot be, a message says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from splitfleet.kernels.errors import HarnessError
from splitfleet.kernels.tuning import Tuning
from splitfleet.pipeline.host_files import write_json
from splitfleet.pipeline.join_record import remember
from splitfleet.pipeline.tuning_store import save_tuning
from splitfleet.predictors.checked_joins import CheckedJoins


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new-folder" / "a.json"
    write_json(path, {"sound": True})
    with pytest.raises(TypeError):
        write_json(path, {"sound": object()})
    assert path.read_text() == '{\n  "sound": true\n}\n'
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "save",
    [lambda: save_tuning(Tuning("phone-1")), lambda: remember("phone-1", "a", "first", CheckedJoins(5))],
    ids=["tuning", "joins"],
)
def test_a_home_that_cannot_be_written_is_named(
    save: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.write_text("a file")
    monkeypatch.setenv("SPLITFLEET_HOME", str(home))
    with pytest.raises(HarnessError, match=f"{home}.*: cannot be written .*run the same command again"):
        save()

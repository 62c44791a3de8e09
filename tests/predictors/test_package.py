from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitfleet.kernels import Linear
from splitfleet.kernels.errors import HarnessError, UserError
from splitfleet.predictors.archive import canonical_json, pack
from splitfleet.predictors.package import build_package, open_package, verify_package
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.train import ClassModels

from ..pipeline.limits import files_up_to
from . import synthetic

_FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _rezip(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def _spans(path: Path) -> list[tuple[str, int, int]]:
    """(member, first byte, behind the last byte) of each member's content in the zip file."""
    with zipfile.ZipFile(path) as archive:
        starts = [(info.filename, info.header_offset + 30 + len(info.filename), info) for info in archive.infolist()]
    return [(name, start, start + info.file_size) for name, start, info in starts]


def test_package_predicts_as_the_models_it_was_made_of(trained: ClassModels, package_file: Path) -> None:
    package = verify_package(package_file)
    assert package.models == trained.models
    for target, predictor in package.models.predictors.items():
        frame = trained.training[target].features
        assert list(predictor.raw_score(frame)) == list(trained.models.predictors[target].raw_score(frame))
    operator = Linear(197, 768, 3072)
    prediction = package.predict(operator)
    assert set(prediction.times_us) == set(trained.models.predictors)
    assert prediction.gpu_us > prediction.times_us["gpu_execution"]
    assert json.dumps(prediction.to_json())
    assert package.plan(operator).processor == "split"
    assert package.metrics == json.loads(canonical_json(trained.metrics))


def test_plan_comes_from_the_table_where_it_has_the_operator(table: SplitTable, package_file: Path) -> None:
    package = open_package(package_file)
    assert package.split_table == table
    decision = table.entries[0].decision
    assert package.plan(decision.operator) == decision
    assert package.plan(decision.operator, step=64).cut % 64 == 0 or package.plan(decision.operator, 64).threads > 0


def test_same_training_gives_the_same_bytes(
    trained: ClassModels, table: SplitTable, package_file: Path, tmp_path: Path
) -> None:
    again = build_package(trained, table, tmp_path / "again.zip")
    assert again.read_bytes() == package_file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.zip"]


def test_manifest_names_every_file_with_its_hash(package_file: Path) -> None:
    files = _contents(package_file)
    manifest = json.loads(files.pop("manifest.json"))
    assert {name: entry["sha256"] for name, entry in manifest["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    assert manifest["created_from"]["campaigns"] == ["synthetic"]
    reader = Path(__file__).parents[2] / "agent/include/splitfleet"
    assert {name for name in files if name.endswith(".hpp")} == {
        f"include/splitfleet/{path.name}" for path in reader.glob("*.hpp")
    }
    assert not any(name.endswith((".pkl", ".pickle", ".joblib")) for name in files)


@_FEW
@given(data=st.data())
def test_a_flipped_byte_in_a_file_is_named(package_file: Path, tmp_path: Path, data: st.DataObject) -> None:
    name, start, stop = data.draw(st.sampled_from(_spans(package_file)))
    broken = bytearray(package_file.read_bytes())
    broken[data.draw(st.integers(start, stop - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "broken.zip"
    path.write_bytes(broken)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        verify_package(path)


@_FEW
@given(data=st.data())
def test_a_flipped_byte_outside_the_files_is_found(package_file: Path, tmp_path: Path, data: st.DataObject) -> None:
    broken = bytearray(package_file.read_bytes())
    spans = _spans(package_file)
    bounds = [0, *(bound for _, start, stop in spans for bound in (start, stop)), len(broken)]
    start, stop = data.draw(st.sampled_from(list(zip(bounds[::2], bounds[1::2], strict=True))))
    broken[data.draw(st.integers(start, stop - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "broken.zip"
    path.write_bytes(broken)
    with pytest.raises(UserError, match=r"broken\.zip"):
        verify_package(path)


@_FEW
@given(data=st.data())
def test_a_flipped_byte_is_named_after_unzipping_and_zipping_again(
    package_file: Path, tmp_path: Path, data: st.DataObject
) -> None:
    files = _contents(package_file)
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = _rezip(tmp_path / "broken.zip", list({**files, name: bytes(content)}.items()))
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        verify_package(path)


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "models/../../x.txt", "C:evil.json", "..\\evil.json"])
def test_names_that_lead_out_are_refused(package_file: Path, tmp_path: Path, name: str) -> None:
    path = _rezip(tmp_path / "p.zip", [*_contents(package_file).items(), (name, b"{}")])
    with pytest.raises(UserError, match="leads out of the package"):
        open_package(path)


def test_unknown_missing_double_and_unlisted_files_are_named(package_file: Path, tmp_path: Path) -> None:
    files = _contents(package_file)
    with pytest.raises(UserError, match=r"'readme\.txt' does not belong"):
        open_package(_rezip(tmp_path / "a.zip", [*files.items(), ("readme.txt", b"hello")]))
    with pytest.raises(UserError, match=r"models/extra\.json is not in the manifest"):
        open_package(_rezip(tmp_path / "b.zip", [*files.items(), ("models/extra.json", b"{}")]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        double = _rezip(tmp_path / "c.zip", [*files.items(), ("golden.json", files["golden.json"])])
    with pytest.raises(UserError, match=r"golden\.json is there twice"):
        open_package(double)
    for name in files:
        left = [(key, value) for key, value in files.items() if key != name]
        with pytest.raises(UserError, match=f"{name} is missing".replace(".", r"\.")):
            open_package(_rezip(tmp_path / "d.zip", left))


def test_a_bomb_is_not_unpacked(package_file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(9):
            archive.writestr(f"models/m{index}.txt", bytes(32 << 20))
    with pytest.raises(UserError, match="larger than"):
        open_package(tmp_path / "p.zip")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\5\6" + bytes(18)])
def test_a_file_that_is_no_package(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"p\.zip: (not a predictor package|manifest\.json is missing)"):
        open_package(path)
    with pytest.raises(UserError, match=r"absent\.zip: cannot read the package: No such file"):
        open_package(tmp_path / "absent.zip")


def _repacked(package_file: Path, path: Path, name: str, change: Any) -> Path:
    """A package with a sound manifest around one changed JSON file."""
    files = _contents(package_file)
    manifest = json.loads(files.pop("manifest.json"))
    data = json.loads(files[name])
    change(data)
    files[name] = canonical_json(data)
    path.write_bytes(pack(files, {key: manifest[key] for key in ("device_class", "created_from", "versions")}))
    return path


@pytest.mark.parametrize("field", ["raw_score", "time_us", "features"])
def test_golden_vectors_are_computed_again(package_file: Path, tmp_path: Path, field: str) -> None:
    def nudge(golden: dict[str, Any]) -> None:
        vector = golden["vectors"][3]
        if field == "features":
            vector["features"][9] += 1.0
        else:
            vector[field] *= 1 + (1e-15 if field == "raw_score" else 1e-8)

    path = _repacked(package_file, tmp_path / "p.zip", "golden.json", nudge)
    open_package(path)
    with pytest.raises(UserError, match=r"golden\.json: cpu_t1 of "):
        verify_package(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("constants.json", lambda d: d.update(schema=9), r"constants\.json: schema 9 is not known"),
        ("constants.json", lambda d: d["targets"].pop(), r"constants\.json: a predictor is missing"),
        ("constants.json", lambda d: d.update(device_class="x"), "name different device classes"),
        ("constants.json", lambda d: d.update(precision="fp8"), r"constants\.json: damaged: .*precision 'fp8'"),
        ("split_table.json", lambda d: d.update(precision="fp8"), r"split_table\.json: damaged .*precision 'fp8'"),
        ("models/cpu_t1.json", lambda d: d.update(schema=9), r"models/cpu_t1\.json: predictor schema 9"),
        ("split_table.json", lambda d: d.update(schema=9), r"split_table\.json: split table schema 9"),
        ("split_table.json", lambda d: d["entries"].pop(), r"split_table\.bin says otherwise"),
    ],
)
def test_files_that_disagree_are_named(
    package_file: Path, tmp_path: Path, name: str, change: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_package(_repacked(package_file, tmp_path / "p.zip", name, change))


def test_a_package_of_another_schema_is_refused(package_file: Path, tmp_path: Path) -> None:
    files = _contents(package_file)
    manifest = json.loads(files.pop("manifest.json"))
    manifest["schema"] = 1
    path = _rezip(tmp_path / "p.zip", [("manifest.json", canonical_json(manifest)), *files.items()])
    with pytest.raises(UserError, match=r"manifest\.json: package schema 1 is not known"):
        open_package(path)


def test_a_place_that_cannot_be_written_is_named(trained: ClassModels, table: SplitTable, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/p\.zip: cannot write the package \(.*\); make room or mend the folder"):
        build_package(trained, table, tmp_path / "file" / "p.zip")
    with files_up_to(1000), pytest.raises(UserError, match=r"p\.zip: cannot write the package \(File too large\)"):
        build_package(trained, table, tmp_path / "p.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_serial_gets_into_a_package(trained: ClassModels, table: SplitTable, tmp_path: Path) -> None:
    leaky = replace(trained, profile={**synthetic.PROFILE, "android": {"serial": "X"}})
    with pytest.raises(HarnessError, match="carries a serial"):
        build_package(leaky, table, tmp_path / "p.zip")
    with pytest.raises(UserError, match="the split table is of other"):
        build_package(trained, SplitTable.of("other", "eigen", []), tmp_path / "p.zip")
    assert not list(tmp_path.iterdir())

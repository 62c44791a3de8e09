"""What the core install alone must do: read a package, check it, predict and plan, without any extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from splitfleet.predictors.package import open_package
from splitfleet.predictors.train import ClassModels

from . import synthetic

_EXTRAS = ("mlflow", "ray", "matplotlib", "pyopencl", "pydantic", "adb_shell", "cryptography", "filelock", "sqlalchemy")
_SCRIPT = """
import json, sys
for name in {extras!r}:
    sys.modules[name] = None  # importing it raises ImportError
from pathlib import Path
from splitfleet.kernels import parse_operator
from splitfleet.predictors.package import verify_package
package = verify_package(Path({path!r}))
operator = parse_operator({operator!r})
scores = {{
    target: list(predictor.raw_score(predictor.features(package_table)))
    for target, predictor in package.models.predictors.items()
    for package_table in [__import__("pandas").read_json({tables!r})]
    if target.startswith("cpu")
}}
print(json.dumps([package.predict(operator).to_json(), package.plan(operator).to_json(), scores]))
"""


def test_a_package_is_read_and_predicts_without_any_extra(
    trained: ClassModels, package_file: Path, tmp_path: Path
) -> None:
    from splitfleet.kernels import describe_many, parse_operator

    text = "linear:rows=50,in=768,out=3072"
    shapes = describe_many(synthetic.layers(4, 2))
    tables = tmp_path / "shapes.json"
    shapes.to_json(tables)
    script = _SCRIPT.format(extras=_EXTRAS, path=str(package_file), operator=text, tables=str(tables))
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stderr
    prediction, plan, scores = json.loads(found.stdout)
    package = open_package(package_file)
    operator = parse_operator(text)
    assert prediction == json.loads(json.dumps(package.predict(operator).to_json()))
    assert plan == json.loads(json.dumps(package.plan(operator).to_json()))
    for target, values in scores.items():
        predictor = trained.models.predictors[target]
        assert values == list(predictor.raw_score(predictor.features(shapes)))
    assert found.stderr == ""

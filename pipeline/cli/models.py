"""`splitfleet train | evaluate | publish | report | predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from splitfleet.kernels.errors import UserError

from .campaign import PhoneOption
from .host import ClusterOption
from .output import JsonFlag, print_json, print_table
from .packages import SigningKeyOption

Folder = Annotated[Path, typer.Argument(help="A campaign's folder, as runs/demo.", show_default=False)]


def add_verbs(app: typer.Typer) -> None:
    app.command(epilog="Example: splitfleet train runs/demo")(train)
    app.command(epilog="Example: splitfleet evaluate runs/pixel4-test --json")(evaluate)
    app.command(epilog="Example: splitfleet publish runs/demo")(publish)
    app.command(epilog="Example: splitfleet report runs/demo --json")(report)
    app.command(epilog="Example: splitfleet predict virtual-a-1b2c3d4e --op linear:rows=50,in=768,out=3072")(predict)


def train(folder: Folder, key: SigningKeyOption = None, json: JsonFlag = False) -> None:
    """Train the latency predictors of every device class of a campaign, or of imported traces; log them to MLflow."""
    from splitfleet.pipeline.litert_training import is_imported, train_imported
    from splitfleet.pipeline.training import train_campaign

    trained: dict[str, Any]
    if is_imported(folder):
        imported = train_imported(folder, signing_key=key)
        trained = dict(imported.results)
        for one in imported.registered:
            typer.echo(f"{one.device_class}: version {one.version} is the {one.alias}: {one.reason}", err=True)
    else:
        trained = dict(train_campaign(folder))
    if json:
        print_json({name: result.metrics for name, result in trained.items()})
        return
    print_table(
        "Errors on shapes held out of training",
        ["device class ", "predictor ", "shapes", "MAPE", "median", "within 5 %", "within 10 %", "within 15 %"],
        [
            [name, target, str(m["n"]), *(f"{m[key]:.1f} %" for key in _ERRORS)]
            for name, result in trained.items()
            for target, m in sorted(result.metrics.items())
            if target != "cpu"
        ],
    )
    typer.echo("browse them: splitfleet ui")


_ERRORS = ("mape", "median_ape", "within_5", "within_10", "within_15")


def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder of imported traces.", show_default=False)],
    model: Annotated[
        Path | None, typer.Option(help="A folder that was trained, or a package in it, instead of the champion.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Compare the champion of each imported phone's class with the times in a folder, by operator."""
    from splitfleet.pipeline.litert_training import evaluate_imported

    found = evaluate_imported(folder, model)
    for name, types in found.unknown.items():
        typer.echo(f"{name}: left out, since its predictors were not trained on them: {', '.join(types)}", err=True)
    for name in found.provisional:
        typer.echo(f"{name}: has no champion; its provisional package is taken", err=True)
    if json:
        print_json({"rows": found.rows})
        return
    print_table(
        "Errors on the shapes of the folder",
        ["phone ", "operator ", "shapes", "MAPE", "median", "within 10 %", "in 90 % interval", "out of range"],
        [
            [
                row["phone"],
                row["operator"],
                str(row["n"]),
                *(f"{row[key]:.1f} %" for key in ("mape", "median", "within_10", "coverage_90")),
                str(row["out_of_range"]),
            ]
            for row in found.rows
        ],
    )


def publish(
    folder: Folder, phone: PhoneOption = None, cluster: ClusterOption = None, key: SigningKeyOption = None
) -> None:
    """Plan every layer, prove a sample on the phones, and publish a predictor package per device class."""
    from splitfleet.pipeline.campaign import phones_at
    from splitfleet.pipeline.publishing import publish_campaign

    phones = phones_at(phone) if phone else None
    for published in publish_campaign(folder, phones=phones, signing_key=key):
        typer.echo(f"{published.device_class}: version {published.version}, package {published.path}")
        typer.echo(f"  it is the {published.alias}: {published.reason}")


def report(
    folder: Folder,
    json: JsonFlag = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write a page for people, with charts, and keep it in MLflow.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the page goes. [default: FOLDER/report.html]")
    ] = None,
) -> None:
    """Show what a campaign found: jobs, predictor errors, and speed-ups by splitting as predicted and as measured."""
    if html:
        from splitfleet.pipeline.page import save_html_report

        file = out or folder / "report.html"
        is_kept = save_html_report(folder, file)
        typer.echo(f"{file}" + (", also in MLflow with the campaign's run" if is_kept else ""))
        return
    from splitfleet.pipeline.report import campaign_report

    found = campaign_report(folder)
    if json:
        print_json(found)
        return
    from .report import show_report

    show_report(found)


def predict(
    device: Annotated[str, typer.Argument(help="A device class in the registry, or a package file (zip).")],
    op: Annotated[str | None, typer.Option(help="An operator, as linear:rows=50,in=768,out=3072.")] = None,
    model: Annotated[Path | None, typer.Option(help="A network: a .tflite or .onnx file.")] = None,
    json: JsonFlag = False,
) -> None:
    """Predict an operator's or a whole network's times on a device, and the splits with the least expected time."""
    if (op is None) == (model is None):
        raise UserError("predict takes either --op or --model")
    if op is not None:
        from splitfleet.kernels.litert.operations import parse_operation

        parse_operation(op)  # a typo is told before the registry is asked
    path = Path(device)
    if not path.is_file():
        from splitfleet.predictors.registry import champion_package

        path = champion_package(device)
    if model is not None:
        from splitfleet.pipeline.network_prediction import predict_model

        times = predict_model(path, model)
        if json:
            print_json(times.to_json())
            return
        from .network import show_network

        show_network(times)
    elif op is not None:
        _predict_operator(path, op, json)


def _predict_operator(path: Path, op: str, json: bool) -> None:
    from splitfleet.predictors.archive import read_manifest
    from splitfleet.predictors.litert_package import KIND

    if read_manifest(path).get("kind") == KIND:
        _predict_litert(path, op, json)
    else:
        _predict_own(path, op, json)


def _predict_litert(path: Path, op: str, json: bool) -> None:
    """LiteRT runs an operator on the GPU alone, so there is nothing to split."""
    from splitfleet.predictors.litert_package import open_litert_package
    from splitfleet.predictors.litert_predict import predict_operations

    models = open_litert_package(path)
    [found] = predict_operations(models, [op]).to_dict("records")
    if json:
        print_json({"device_class": models.device_class, "prediction": found})
        return
    times = f"{found['predicted_us']:.0f} µs ({found['low_us']:.0f} to {found['high_us']:.0f})"
    print_table(
        f"{found['operator']} on {models.device_class}, with LiteRT",
        ["processor ", "predicted"],
        [[f"gpu, by {found['kernel']}", times]],
    )
    if found["outside"]:
        typer.echo("the operator lies outside what was measured")


def _predict_own(path: Path, op: str, json: bool) -> None:
    from splitfleet.kernels import parse_operator
    from splitfleet.predictors.package import open_package

    operator, package = parse_operator(op), open_package(path)
    prediction, decision = package.predict(operator), package.plan(operator)
    if json:
        found = {"prediction": prediction.to_json(), "plan": decision.to_json()}
        print_json({"device_class": package.device_class, **found})
        return
    expected = f"{decision.predicted_us:.0f} µs ({decision.low_us:.0f} to {decision.high_us:.0f})"
    print_table(
        f"{operator.label} on {package.device_class}",
        ["processor ", "predicted"],
        [
            *([target, f"{time_us:.0f} µs"] for target, time_us in sorted(prediction.times_us.items())),
            ["all-GPU, as the host sees it", f"{prediction.gpu_us:.0f} µs"],
            [f"best: {decision.summary}", expected],
        ],
    )

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import Conv2d, DepthwiseConv2d, Linear, Pool2d
from splitfleet.pipeline.campaign import load_campaign
from splitfleet.pipeline.layers import LinearLayer, operators_of
from splitfleet.pipeline.toml_lines import TomlLines
from splitfleet.predictors.split_table import RowRange

from .campaigns import write_campaign

HEAD = 'name = "t"\n[[layers]]\n'
LINEAR = 'name = "fc"\ntype = "linear"\nrows = 4\nin = 8\nout = 64\n'


RANGES = (("a", "[1, 19]"), ("b", "[20, 40]"), ("c", "[30, 90]"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(text, "utf-8")
    return path


def load(tmp_path: Path, text: str) -> object:
    return load_campaign(write(tmp_path, text))


def message(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    return str(caught.value).replace(str(tmp_path / "c.toml"), "FILE")


def test_layers_become_operators(tmp_path: Path) -> None:
    campaign = load_campaign(write_campaign(tmp_path))
    assert [layer.operator for layer in campaign.layers] == [Linear(8, 64, 96), Conv2d(8, 8, 8, 32, 3, 3, 1, 1, 1)]


def test_every_type_of_layer_becomes_its_operator(tmp_path: Path) -> None:
    window = "height = 14\nwidth = 14\nkernel = [3, 5]\nstride = 2\npadding = [1, 2]\n"
    layers = [
        LINEAR + 'epilogue = "relu"\n',
        'name = "c"\ntype = "conv2d"\nin = 8\nout = 16\nepilogue = "add_relu"\n' + window,
        'name = "d"\ntype = "depthwise_conv2d"\nchannels = 24\nepilogue = "relu6"\n' + window,
        'name = "p"\ntype = "pool2d"\nmode = "avg"\nchannels = 24\n' + window,
    ]
    path = tmp_path / "c.toml"
    path.write_text('name = "t"\n' + "".join(f"[[layers]]\n{layer}" for layer in layers))
    assert [layer.operator for layer in load_campaign(path).layers] == [
        Linear(4, 8, 64, "relu"),
        Conv2d(14, 14, 8, 16, 3, 5, 2, 1, 2, "add_relu"),
        DepthwiseConv2d(14, 14, 24, 3, 5, 2, 1, 2, "relu6"),
        Pool2d("avg", 14, 14, 24, 3, 5, 2, 1, 2),
    ]


def test_rows_may_vary(tmp_path: Path) -> None:
    campaign = load_campaign(write(tmp_path, HEAD + LINEAR.replace("rows = 4", "rows = [3, 50]")))
    [layer] = campaign.layers
    assert isinstance(layer, LinearLayer)
    assert layer.row_range == RowRange(3, 50)
    assert layer.operator == Linear(12, 8, 64)
    assert operators_of(layer) == [Linear(rows, 8, 64) for rows in (3, 6, 12, 24, 48, 50)]


def test_a_range_of_rows_goes_up(tmp_path: Path) -> None:
    for rows in ("[8, 8]", "[9, 8]"):
        found = message(tmp_path, HEAD + LINEAR.replace("rows = 4", f"rows = {rows}"))
        assert "FILE:5: " in found
        assert "a range of rows goes up, as in [1, 2048]" in found


def test_ranges_of_one_layer_that_overlap_are_refused(tmp_path: Path) -> None:
    layers = [LINEAR.replace("rows = 4", f"rows = {rows}").replace('"fc"', f'"{name}"') for name, rows in RANGES]
    text = 'name = "t"\n' + "".join(f"[[layers]]\n{layer}" for layer in layers)
    assert message(tmp_path, text) == (
        "FILE: 'b' and 'c' are the same linear layer with rows 20 to 40 and 30 to 90, which overlap; give both rows = "
        "[20, 90]"
    )
    load(tmp_path, text.replace("[30, 90]", "[41, 90]"))
    load(tmp_path, text.replace("[30, 90]", "[20, 40]"))


def test_included_layers_know_their_network(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text("[[layers]]\n" + LINEAR)
    path = tmp_path / "c.toml"
    path.write_text(HEAD + 'include = "net.toml"\n')
    campaign = load_campaign(path)
    assert [layer.network for layer in campaign.layers] == ["net"]
    assert set(campaign.sources) == {"c.toml", "net.toml"}


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "vit_b16"])
def test_examples_can_be_included(name: str, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "examples" / f"{name}.toml"
    (tmp_path / source.name).write_text(source.read_text("utf-8"), "utf-8")
    path = tmp_path / "c.toml"
    path.write_text(HEAD + f'include = "{source.name}"\n')
    assert len(load_campaign(path).layers) > 3


def test_only_what_is_measured_makes_the_id(tmp_path: Path) -> None:
    first, moved = write_campaign(tmp_path, "127.0.0.1:6000"), write_campaign(tmp_path, "127.0.0.1:6001", drift=0.1)
    assert load_campaign(first).id == load_campaign(moved).id
    assert load_campaign(moved).id != load_campaign(write_campaign(tmp_path, samples=4)).id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "t"\n[fleet]\n\nprobe_evry_s = 6\n', "FILE:4: fleet.probe_evry_s: unknown key; did you mean"),
        ('name = "t"\n[fleet]\nsister_fraction = 1.5\n', "FILE:3: fleet.sister_fraction: Input should be less than"),
        ('naem = "t"\n', "FILE:1: naem: unknown key; did you mean 'name'?"),
        ('name = "t"\n[measure.repeat]\nmin_cout = 3\n', "FILE:3: measure.repeat.min_cout: unknown key; did you mean"),
        ('name = "t"\n[measure]\nthreads = "al"\n', 'FILE:3: measure.threads: write a list of thread counts, or "all"'),
        ('name = "t"\n[measure]\nthreads = [0]\n', "FILE:3: measure.threads: Input should be greater than 0, not 0"),
        (HEAD + LINEAR.replace("rows = 4", "rows = -4"), "FILE:5: rows: Input should be greater than 0, not -4"),
        (HEAD + LINEAR.replace("in = 8\n", ""), "FILE:2: in: is missing; add it"),
        (HEAD + LINEAR + "cut = [8, 6]\n", "FILE:8: layer 'fc': cut 6 must be a multiple of 4 between 0 and 64"),
        (HEAD + LINEAR + "cut = [64]\n", "FILE:8: layer 'fc': cut 64 must be"),
        (HEAD + LINEAR + 'epilogue = "tanh"\n', "FILE:8: epilogue: Input should be 'none', 'relu', 'relu6', 'add' or"),
        (HEAD + LINEAR.replace("linear", "pool2d"), "FILE:2: channels: is missing; add it"),
        ('name = "t"\n[measure]\nprecision = "fp8"\n', "FILE:3: measure.precision: Input should be 'fp32', 'fp16'"),
        ('name = "t"\n[measure]\nbackend = "onnx"\n', "FILE:3: measure.backend: Input should be 'eigen' or 'xnnpack'"),
        (HEAD + LINEAR.replace("linear", "lstm"), "FILE:4: a layer needs type ="),
        (HEAD + 'include = "../x.toml"\n', "FILE:3: '../x.toml' must be a path below the campaign file's folder"),
        (HEAD + 'include = "/x.toml"\n', "FILE:3: '/x.toml' must be a path below the campaign file's folder"),
        (HEAD + 'include = "a/../x.toml"\n', "FILE:3: 'a/../x.toml' must be a path below"),
        (HEAD + 'include = "campaign.toml"\n', "FILE:3: campaign.toml is the name of the copy of FILE"),
        (HEAD + 'include = "x.toml"\n', "FILE:3: there is no file"),
        ('name = "t"\n', "FILE:1: no layers"),
        ('name = "t"\n[phones]\ntcp = ["phone"]\n' + HEAD[11:], "FILE:3: phones.tcp: 'phone' is no address"),
        ('name = "t"\nseed = \n', "FILE:2: not valid TOML"),
        ('name = "t"\nseed = "x"\n', "FILE:2: seed: Input should be a valid integer"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, expected: str, tmp_path: Path) -> None:
    assert expected in message(tmp_path, text)


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.toml").write_text("[[layers]]\n" + LINEAR)
    (inside / "link.toml").symlink_to(tmp_path / "secret.toml")
    path = inside / "c.toml"
    path.write_text(HEAD + 'include = "link.toml"\n')
    with pytest.raises(UserError, match="lies outside"):
        load_campaign(path)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert TomlLines(text).line_of(("layers", 0, "rows")) >= 1


@given(st.lists(st.integers(0, 3), max_size=6))
def test_lines_of_arrays_of_tables(blank_lines: list[int]) -> None:
    text, expected = "", []
    for blanks in blank_lines:
        text += "\n" * blanks + "[[layers]]\n"
        expected.append(text.count("\n") + 1)
        text += "rows = 1\n"
    lines = TomlLines(text)
    assert [lines.line_of(("layers", i, "rows")) for i in range(len(blank_lines))] == expected

"""A plan as an MLflow model: the answers of the whole network, and clear errors for other input."""

from __future__ import annotations

import base64
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.domain.checks import ConfigError
from pipeline.network.graph import Graph
from pipeline.network.images import central
from pipeline.network.models.spec import ModelSpec
from pipeline.tracking.model_folder import PLAN_FILE, SPEC_FILE
from pipeline.tracking.pyfunc_model import PyfuncModel, _input, _load_pyfunc

SPEC = ModelSpec("mobilenetv4_conv_small", "timm", input_size=64)


def save(folder: Path, plan: str, spec: str) -> None:
    (folder / PLAN_FILE).write_text(plan)
    (folder / SPEC_FILE).write_text(spec)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PyfuncModel:
    folder = tmp_path_factory.mktemp("model")
    num_layers = len(Graph.of(SPEC.build(), torch.zeros(1, 3, 64, 64), SPEC.name).layers)
    plan = {"bounds": (0, 9, num_layers), "devices": ("a", "b"), "model": "any", "fleet": "any"}
    spec = {"_target_": "pipeline.network.models.spec.ModelSpec", **asdict(SPEC)}
    save(folder, json.dumps(plan), json.dumps(spec))
    return _load_pyfunc(str(folder))


@pytest.mark.parametrize(
    "text", ["[1]", "{}", "[" * 100_000, '{"bounds": [0, 1000000000], "devices": ["a"], "order": [1]}']
)
def test_a_plan_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    spec = {"_target_": "pipeline.network.models.spec.ModelSpec", **asdict(SPEC), "name": "test_byobnet"}
    save(tmp_path, text, json.dumps(spec))
    with pytest.raises(ConfigError, match=r"^plan: .*plan\.json is not a plan file \(.*\)$"):
        _load_pyfunc(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1]", "not a mapping"),
        ("a: [", "while parsing a flow node .*"),
        ("_target_: os.abort", "model._target_: 'os.abort' is not built .*"),
        (None, r".*model\.yaml is not a regular file"),
    ],
)
def test_a_description_that_is_none_is_one_line(text: str | None, complaint: str, tmp_path: Path) -> None:
    save(tmp_path, "{}", text or "")
    if text is None:
        (tmp_path / "model.yaml").unlink()
        os.mkfifo(tmp_path / "model.yaml")
    with pytest.raises(ConfigError, match=rf"^model: .*model\.yaml cannot be read \({complaint}\)$"):
        _load_pyfunc(str(tmp_path))


def test_a_model_that_takes_gigabytes_is_refused(tmp_path: Path) -> None:
    spec = {"_target_": "pipeline.network.models.spec.ModelSpec", **asdict(SPEC), "input_size": 4096}
    save(tmp_path, "{}", json.dumps(spec))
    with pytest.raises(ConfigError, match=r"^model\.input_size: .* at 4096 pixels has a layer of"):
        _load_pyfunc(str(tmp_path))


@pytest.mark.parametrize("side", [8, 300, 1000])
def test_an_image_in_base64_may_be_as_short_as_a_path(side: int) -> None:
    """No path of more than 255 letters can be looked up on most systems."""
    content = io.BytesIO()
    Image.new("RGB", (side, side)).save(content, "PNG")
    text = base64.b64encode(content.getvalue()).decode()
    assert _input(0, text, ModelSpec("mobilenet_v2", "torchvision", input_size=side)).shape == (
        1,
        3,
        side,
        side,
    )


def test_a_path_and_its_file_in_base64_are_classified_alike(model: PyfuncModel, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    image = Image.effect_mandelbrot((80, 60), (-2, -1, 1, 1), 50).convert("RGB")
    image.save(path)
    encoded = base64.b64encode(path.read_bytes()).decode()
    answers = model.predict(pd.DataFrame({"image": [str(path), encoded], "other": [0, 0]}))
    assert list(answers.columns) == ["class", "probability"]
    with torch.inference_mode():
        expected = SPEC.build()(central(image, SPEC))[0].softmax(0)
    assert set(answers["class"]) == {int(expected.argmax())}
    assert answers["probability"].tolist() == pytest.approx([float(expected.max())] * 2, rel=1e-4)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"picture": ["cat.png"]}, r"must have a column 'image', .* \(columns: picture\)"),
        ({}, r"must have a column 'image', .* \(columns: none\)"),
        (
            {"image": ["no such file.png"]},
            r"row 0: must be the path of an image.* \('no such file.png': Only",
        ),
    ],
)
def test_other_input_is_refused(model: PyfuncModel, table: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.predict(pd.DataFrame(table))


def test_an_answer_that_is_not_finite_is_refused(
    model: PyfuncModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    monkeypatch.setattr(model, "stages", [lambda x: (x.sum((2, 3)) / 0,)])
    with pytest.raises(ConfigError, match=f"^input: row 0: the answer of {SPEC.name} is not finite"):
        model.predict(pd.DataFrame({"image": [str(tmp_path / "black.png")]}))

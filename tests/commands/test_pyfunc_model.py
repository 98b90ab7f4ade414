"""The model that a sweep registers, asked by `mlflow models predict`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from pipeline.network.images import central
from tests.commands.conftest import SIMULATED, carbonedge
from tests.conftest import configured


@pytest.mark.full
def test_the_knee_of_a_sweep_answers_pictures_as_the_whole_model_does(tmp_path: Path) -> None:
    """`mlflow models predict` on a picture, by the registered model and by the unsplit network."""
    done = carbonedge(tmp_path, *SIMULATED, "sweep=pareto", "sweep.n_trials=6", "sweep.warm_start=exact")
    assert done.code == 0, done.errors
    assert "It is also registered as model carbonedge-mobilenetv4_conv_small-paper version 1" in done.output
    picture = tmp_path / "flower.png"
    Image.fromarray(load_sample_image("flower.jpg")).save(picture)
    split = {"columns": ["image"], "data": [[str(picture)], [b64encode(picture.read_bytes()).decode()]]}
    (tmp_path / "input.json").write_text(json.dumps({"dataframe_split": split}))
    answered = subprocess.run(
        [sys.executable, "-m", "mlflow", "models", "predict", "-t", "json", "-i", "input.json",
         "-o", "out.json", "--env-manager", "local",
         "-m", "models:/carbonedge-mobilenetv4_conv_small-paper/1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"},
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr
    a, b = json.loads((tmp_path / "out.json").read_text())["predictions"]
    spec = configured("model", "mobilenetv4_conv_small", input_size=64)
    with torch.inference_mode():
        whole = spec.build()(central(Image.open(picture), spec)).flatten().softmax(0)
    assert a == b
    assert a["class"] == int(whole.argmax())
    assert a["probability"] == pytest.approx(float(whole.max()), rel=1e-6)

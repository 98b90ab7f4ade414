"""A plan as an MLflow model: what `mlflow models predict` and `serve` run. Shell: it reads files.

MLflow calls `_load_pyfunc` by its name (mlflow.pyfunc, `loader_module`).
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image, UnidentifiedImageError

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import Plan
from pipeline.network.graph import Graph
from pipeline.network.images import preprocess
from pipeline.network.models.spec import ModelSpec

PLAN, MODEL = "plan.json", "model.yaml"
"""The folder's files: `pipeline.planning.plan_file`'s, and the config's `model`."""


class PyfuncModel:
    """A model cut as a plan has it: stage after stage, in one process."""

    def __init__(self, spec: ModelSpec, plan: Plan) -> None:
        module = spec.build()
        graph = Graph.of(module, torch.zeros(1, 3, spec.input_size, spec.input_size), spec.name)
        graph = graph.reordered(plan.order) if plan.order else graph
        self.spec = spec
        self.stages = [graph.stage(*plan.stage(index)) for index in range(plan.num_stages)]

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row a image: its most likely class, by index, and the class's probability.

        Column `image`: a file's path, or the file itself in base64. Raises ConfigError naming the row.
        """
        if "image" not in model_input:
            raise ConfigError("input: must have a column 'image', of paths or of files in base64")
        rows = []
        for number, text in enumerate(model_input["image"]):
            values: tuple[torch.Tensor, ...] = (preprocess(_image(number, str(text)), self.spec),)
            with torch.inference_mode():
                for stage in self.stages:
                    values = stage(*values)
                probabilities = values[0].flatten().softmax(0)
            best = int(probabilities.argmax())
            rows.append({"class": best, "probability": float(probabilities[best])})
        return pd.DataFrame(rows)


def _image(number: int, text: str) -> Image.Image:
    try:
        path = Path(text).expanduser()
        if len(text) < 4096 and path.is_file():
            return Image.open(path).convert("RGB")
        return Image.open(io.BytesIO(base64.b64decode(text, validate=True))).convert("RGB")
    except (OSError, ValueError, binascii.Error, UnidentifiedImageError) as error:
        raise ConfigError(
            f"input: row {number}: neither a image's path nor one in base64 ({text[:40]})"
        ) from error


def save(folder: Path, plan: str, model: str) -> None:
    """Write what `_load_pyfunc` reads: a plan file's text, and the config's `model` as YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text(plan, encoding="utf-8")
    (folder / MODEL).write_text(model, encoding="utf-8")


def _load_pyfunc(path: str) -> PyfuncModel:
    spec: ModelSpec = instantiate(OmegaConf.load(Path(path) / MODEL), _convert_="all")
    fields = json.loads((Path(path) / PLAN).read_text(encoding="utf-8"))
    return PyfuncModel(spec, Plan(**{key: fields[key] for key in fields if key not in ("model", "fleet")}))

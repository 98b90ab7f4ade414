"""A plan as an MLflow model, for `mlflow models predict` and `mlflow models serve`. Shell: it reads files.

MLflow calls `_load_pyfunc` by that name (`loader_module` of mlflow.pyfunc).
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from yaml import YAMLError

from pipeline.domain.checks import ConfigError, first_line, one_line, require
from pipeline.domain.plain_yaml import parsed
from pipeline.host.data_file import text_of
from pipeline.network.graph import Graph
from pipeline.network.images import central
from pipeline.network.models.answers import is_finite
from pipeline.network.models.memory import few_parts, require_moderate
from pipeline.network.models.spec import ModelSpec
from pipeline.network.picture import MOST_PIXELS, opened
from pipeline.network.subnormals import subnormals_as_zero
from pipeline.planning.plan_file import stored_plan
from pipeline.tracking.model_folder import PLAN_FILE, SPEC_FILE
from pipeline.tracking.stored_config import rebuilt


class PyfuncModel:
    """A model that runs the stages of a plan one after the other, in one process."""

    def __init__(self, spec: ModelSpec, plan_file: Path) -> None:
        require_moderate(spec)
        with few_parts(spec.name):
            module = spec.build()
        graph = Graph.of(module, torch.zeros(1, 3, spec.input_size, spec.input_size), spec.name)
        plan = stored_plan(plan_file, graph)
        graph = graph.reordered(plan.order) if plan.order else graph
        self.spec = spec
        self.stages = [graph.stage(*plan.stage(index)) for index in range(plan.num_stages)]

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify images; the result has a row for each, with the columns class and probability.

        model_input: column image, with a file's path or the file's content in base64. class: index of the
        most likely class; probability: its softmax output, in [0, 1]. Raises ConfigError if the column is
        missing, or naming the row that holds no image or whose answer is not finite.
        """
        if "image" not in model_input:
            columns = ", ".join(map(str, model_input.columns)) or "none"
            raise ConfigError(
                f"input: must have a column 'image', of paths or of files in base64 (columns: {columns})"
            )
        rows = []
        for number, text in enumerate(model_input["image"]):
            values: tuple[torch.Tensor, ...] = (_input(number, str(text), self.spec),)
            with torch.inference_mode(), subnormals_as_zero():
                for stage in self.stages:
                    values = stage(*values)
                require(
                    is_finite(values),
                    f"input: row {number}: the answer of {self.spec.name} is not finite (NaN or infinity)",
                )
                probabilities = values[0].flatten().softmax(0)
            best = int(probabilities.argmax())
            rows.append({"class": best, "probability": float(probabilities[best])})
        return pd.DataFrame(rows)


def _input(number: int, text: str, spec: ModelSpec) -> torch.Tensor:
    try:
        is_path = _is_file(text)
        file = Path(text).expanduser() if is_path else io.BytesIO(base64.b64decode(text, validate=True))
        with opened(file, MOST_PIXELS) as image:
            return central(image, spec)
    except Exception as error:  # each format has its own for a broken file
        raise ConfigError(
            f"input: row {number}: must be the path of an image, or an image in base64 "
            f"({text[:40]!r}: {first_line(error)})"
        ) from error


def _is_file(text: str) -> bool:
    """Whether text is the path of a file; content in base64 is mostly longer than any path may be."""
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _load_pyfunc(path: str) -> PyfuncModel:
    """The model in a folder, which may be anybody's. Raises ConfigError naming the file that is not valid."""
    file = Path(path) / SPEC_FILE
    try:
        spec: ModelSpec = rebuilt({"model": parsed(text_of(file))}, "model")
    except (ValueError, YAMLError, OSError) as error:  # ConfigError is a ValueError
        raise ConfigError(f"model: {file} cannot be read ({one_line(error)})") from error
    return PyfuncModel(spec, Path(path) / PLAN_FILE)

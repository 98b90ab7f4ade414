"""Which pictures are asked about: seeded crops of real photographs, or a folder of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from pipeline.domain import ConfigError, require, require_number, require_whole
from pipeline.models import ModelSpec

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
RESIZE = 256 / 224
"""ImageNet's usual evaluation, shorter side to 256 and centre crop of 224, in proportion for other sizes."""


def preprocess(image: Image.Image, spec: ModelSpec) -> torch.Tensor:
    """(1, 3, size, size), float32: the picture at the model's size, on 0..1, then (x - mean) / std."""
    size = spec.input_size
    pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32)
    values = (pixels / 255 - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


@dataclass(frozen=True)
class Photographs:
    """Seeded square crops of the photographs that scikit-learn installs: real pictures without a download."""

    requests: int = 50
    seed: int = 0
    smallest: float = 0.5
    """Least side of a crop, as a share of the photograph's shorter side."""

    def __post_init__(self) -> None:
        require_whole("workload", "requests", self.requests, least=1)
        require_whole("workload", "seed", self.seed)
        require_number("workload", "smallest", self.smallest, least=0, above=True)
        require(self.smallest <= 1, f"workload.smallest: must lie in (0, 1] (smallest: {self.smallest})")

    def inputs(self, spec: ModelSpec) -> Sequence[torch.Tensor]:
        """One crop a request."""
        from sklearn.datasets import load_sample_image

        photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
        random = np.random.default_rng(self.seed)
        crops = []
        for index in range(self.requests):
            photograph = photographs[index % len(photographs)]
            side = int(random.uniform(self.smallest, 1) * min(photograph.size))
            left = int(random.integers(0, photograph.width - side + 1))
            top = int(random.integers(0, photograph.height - side + 1))
            crops.append(preprocess(photograph.crop((left, top, left + side, top + side)), spec))
        return crops


@dataclass(frozen=True)
class ImageFolder:
    """The user's own pictures, in the order of their names, again from the first when they run out."""

    path: str
    requests: int = 50

    def __post_init__(self) -> None:
        require_whole("workload", "requests", self.requests, least=1)

    def inputs(self, spec: ModelSpec) -> Sequence[torch.Tensor]:
        """The centre of one picture a request. ConfigError for a folder without (readable) pictures."""
        folder = Path(self.path).expanduser()
        require(folder.is_dir(), f"workload.path: no such folder ({folder})")
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        require(
            bool(files),
            f"workload.path: no pictures in {self.path} (looked for {', '.join(sorted(SUFFIXES))})",
        )
        return [_centre(files[index % len(files)], spec) for index in range(self.requests)]


def _centre(file: Path, spec: ModelSpec) -> torch.Tensor:
    try:
        with Image.open(file) as image:
            side = min(image.size) / RESIZE
            left, top = (image.width - side) / 2, (image.height - side) / 2
            return preprocess(image.crop((int(left), int(top), int(left + side), int(top + side))), spec)
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigError(f"workload.path: cannot read the picture {file}") from error

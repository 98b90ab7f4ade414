"""The images that requests carry: random crops of real photographs, or a folder of images. Shell."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from pipeline.domain.checks import (
    ConfigError,
    first_line,
    require,
    require_number,
    require_seed,
    require_whole,
)
from pipeline.network.models.spec import ModelSpec
from pipeline.network.picture import MOST_PIXELS, opened
from pipeline.network.picture_folder import SUFFIXES, pictures
from pipeline.network.picture_pixels import as_rgb

_log = logging.getLogger(__name__)


class Images(Protocol):
    """A source of the images that requests carry."""

    def inputs(self, spec: Any, requests: int | None) -> Sequence[torch.Tensor]:
        """Input tensors, each (1, 3, size, size), preprocessed as the model's spec requires.

        At most one per request where the number of requests is known; requests use them in turn.
        """
        ...


RESIZE = 256 / 224
"""The usual evaluation on ImageNet scales the shorter side to 256 and crops the central 224; other sizes keep
the proportion."""


def central(image: Image.Image, spec: ModelSpec) -> torch.Tensor:
    """The central square of a picture as a model's input (see `preprocess`), in runs and in served models."""
    upright = as_rgb(image)
    side = min(upright.size) / RESIZE
    left, top = (int((length - side) / 2) for length in upright.size)
    right, bottom = (
        max(begin + 1, int((length + side) / 2))
        for begin, length in zip((left, top), upright.size, strict=True)
    )
    return preprocess(upright.crop((left, top, right, bottom)), spec)


def preprocess(image: Image.Image, spec: ModelSpec) -> torch.Tensor:
    """An RGB image as a model's input: (1, 3, size, size), float32; pixels on 0..1, then (x - mean) / std."""
    size = spec.input_size
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32)
    values = (pixels / 255 - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


@dataclass(frozen=True)
class Photographs:
    """Random square crops of the photographs that scikit-learn installs: real images without a download.

    Raises ConfigError naming a bad key.
    """

    count: int = 50
    """Number of different crops."""
    seed: int = 0
    """Seed of the crops' positions and sizes."""
    smallest: float = 0.5
    """Smallest side of a crop, as a share of the photograph's shorter side; in (0, 1]."""

    def __post_init__(self) -> None:
        require_whole("images", "count", self.count, least=1)
        require_seed("images", self.seed)
        require_number("images", "smallest", self.smallest, least=0, above=True)
        require(self.smallest <= 1, f"images.smallest: must lie in (0, 1] (smallest: {self.smallest})")

    def inputs(self, spec: ModelSpec, requests: int | None = None) -> Sequence[torch.Tensor]:
        """One crop per request, at most `count`; each (1, 3, size, size)."""
        from sklearn.datasets import load_sample_image

        photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
        random = np.random.default_rng(self.seed)
        crops = []
        for index in range(_least(self.count, requests)):
            photograph = photographs[index % len(photographs)]
            side = int(random.uniform(self.smallest, 1) * min(photograph.size))
            left = int(random.integers(0, photograph.width - side + 1))
            top = int(random.integers(0, photograph.height - side + 1))
            crops.append(preprocess(photograph.crop((left, top, left + side, top + side)), spec))
        return crops


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder and its subfolders, in the order of their paths (see `picture_folder`).

    Raises ConfigError for a bad count.
    """

    path: str
    count: int = 50
    """Most images to use, the first in order."""
    most_pixels: int = MOST_PIXELS
    """Largest width x height of an image."""

    def __post_init__(self) -> None:
        require_whole("images", "count", self.count, least=1)
        require_whole("images", "most_pixels", self.most_pixels, least=1)

    def inputs(self, spec: ModelSpec, requests: int | None = None) -> Sequence[torch.Tensor]:
        """The central square of one image per request, at most `count`; each (1, 3, size, size).

        Raises ConfigError for a folder that does not exist or has no images, and for an image that cannot be
        read or is larger than `most_pixels`.
        """
        folder = Path(self.path).expanduser()
        require(folder.is_dir(), f"images.path: no such folder ({folder})")
        found = pictures(folder)
        left_out = f"; left out: {found.left_out}" if found.left_out else ""
        require(
            bool(found.files),
            f"images.path: no images in {self.path} (looked for {', '.join(sorted(SUFFIXES))}{left_out})",
        )
        used = found.files[: _least(self.count, requests)]
        if left_out:
            _warn_once(
                f"images.path: {len(used)} of {len(found.files)} pictures in {folder} are used{left_out}"
            )
        return [self._centre(file, spec) for file in used]

    def _centre(self, file: Path, spec: ModelSpec) -> torch.Tensor:
        try:
            with opened(file, self.most_pixels) as image:
                return central(image, spec)
        except Exception as error:  # each format has its own for a broken file
            reason = f"{first_line(error)}; images.most_pixels: {self.most_pixels}"
            raise ConfigError(f"images.path: cannot read the image {file} ({reason})") from error


@functools.cache
def _warn_once(line: str) -> None:
    """Log a line, in a sweep not for each trial."""
    _log.warning(line)


def _least(count: int, requests: int | None) -> int:
    return count if requests is None else min(count, requests)

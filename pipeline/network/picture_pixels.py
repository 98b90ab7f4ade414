"""A picture as a person sees it, in 8 bits of red, green and blue. Pure."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image, ImageOps

from pipeline.domain.checks import require

MOST_16_BIT = 65_535
TO_8_BIT = 257
"""The largest value of 16 bits ÷ that of 8."""


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture upright (EXIF's orientation), on white where it is transparent, in RGB.

    Whole numbers of more than 8 bits are scaled from 0..65535, and floats from 0..1, where Pillow would cut
    them off. Raises ConfigError for values beyond these.
    """
    with warnings.catch_warnings(action="ignore"):  # one for each odd tag of a camera's notes
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_scaled(np.asarray(image)))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _scaled(values: np.ndarray) -> np.ndarray:
    """(height, width): grey values in 8 bits."""
    most = 1.0 if values.dtype.kind == "f" else MOST_16_BIT
    low, high = (float(end) for end in (values.min(), values.max()))
    require(low >= 0 and high <= most, f"its grey values are {low:g} to {high:g}, not within 0 to {most:g}")
    scale = 255.0 if values.dtype.kind == "f" else 1 / TO_8_BIT
    return np.rint(values * scale).astype(np.uint8)

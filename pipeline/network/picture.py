"""Open a picture that somebody else may have made, up to a size. Shell."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import Image

from pipeline.domain.checks import require

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
"""Formats that are read. Pillow knows more, and starts a program for some (EPS)."""
MOST_PIXELS = 50_000_000
"""Default limit of a picture: a telephone's largest photograph, 0.3 GB when decoded."""


@contextlib.contextmanager
def opened(source: Path | IO[bytes], most_pixels: int) -> Iterator[Image.Image]:
    """The picture, whose pixels are not decoded yet.

    Raises ConfigError for what is no file or larger; Pillow has many errors for what is not a picture.
    """
    # A pipe would block until somebody writes to it.
    require(not isinstance(source, Path) or source.is_file(), f"{source} is not a file")
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        image = Image.open(source, formats=FORMATS)
    with image:
        size = f"{image.width} x {image.height} pixels"
        require(image.width * image.height <= most_pixels, f"{size} are more than {most_pixels}")
        yield image

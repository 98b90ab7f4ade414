"""Open a picture that somebody else may have made, up to a size. Shell."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import Image

from pipeline.domain.checks import require, size_text
from pipeline.host import data_file
from pipeline.network.picture_work import TIFF_HEADS, require_few_scans, require_small_tiles

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")
"""Formats that are read, beside TIFF. Pillow knows more, and starts a program for some (EPS)."""
MOST_PIXELS = 50_000_000
"""Default limit of a picture: a telephone's largest photograph, 0.3 GB when decoded."""
MOST_SLOW_PIXELS = 1_000_000
"""Limit where Pillow decodes in Python, at 1 µs a value: run-length BMP, PPM as text or of odd depth."""
BYTES_PER_PIXEL = 4
"""Of the largest file: one without compression, with transparency."""
OTHER_BYTES = 10_000_000
"""Of the largest file: profiles, thumbnails and texts."""


@contextlib.contextmanager
def opened(source: Path | IO[bytes], most_pixels: int) -> Iterator[Image.Image]:
    """The picture, whose pixels are not decoded yet.

    Raises ConfigError for what is no file, is larger or takes more work; Pillow has many errors for what is
    not a picture.
    """
    data = _content(source, BYTES_PER_PIXEL * most_pixels + OTHER_BYTES)
    formats: tuple[str, ...] = FORMATS
    if data[:2] == b"\xff\xd8":
        require_few_scans(data)
    elif data[:4] in TIFF_HEADS:
        require_small_tiles(data, most_pixels)
        formats = ("TIFF",)
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        image = Image.open(io.BytesIO(data), formats=formats)
    with image:
        size = f"{image.width} x {image.height} pixels"
        require(image.width * image.height <= most_pixels, f"{size} are more than {most_pixels}")
        slow = any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ()))
        require(
            not slow or image.width * image.height <= MOST_SLOW_PIXELS,
            f"{size} are more than {MOST_SLOW_PIXELS}, the most of a {image.format} that is coded like this",
        )
        yield image


def _content(source: Path | IO[bytes], most_bytes: int) -> bytes:
    # A pipe would block until somebody writes to it.
    with data_file.opened(source) if isinstance(source, Path) else contextlib.nullcontext(source) as file:
        data = file.read(most_bytes + 1)
    require(len(data) <= most_bytes, f"the file is larger than {size_text(most_bytes)}")
    return data

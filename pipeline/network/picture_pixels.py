"""A picture as a person sees it, in 8 bits of red, green and blue. Pure."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pipeline.domain.checks import require

MOST_16_BIT = 65_535
GREY_STEPS = {"L;2": 85, "L;4": 17}
"""The largest value of 8 bits ÷ that of a PNG's 2 or 4, by Pillow's name of the pixels in the file."""
_BITS, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture just opened: upright (EXIF's orientation), on white where it is transparent, in RGB.

    Whole numbers of more than 8 bits are scaled from 0..65535, or a TIFF's 12 bits, and floats from 0..1,
    where Pillow would cut them off. Raises ConfigError for values beyond these.
    """
    clear, most, white_is_zero = _clear(image), _most(image), _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO
    with warnings.catch_warnings(action="ignore"):  # one for each odd tag of a camera's notes
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        grey = _scaled(values, most)
        if white_is_zero:  # which Pillow turns round in pictures of 8 bits only
            grey = 255 - grey
        if clear is not None:
            grey[values == clear] = 255
        image = Image.fromarray(grey)
    elif clear is not None:
        image.info["transparency"] = clear
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _clear(image: Image.Image) -> Any:
    """The grey value or colour of a picture that is transparent, in the values that Pillow decodes.

    Pillow has it as a PNG does, in the file's own bits. Of 16 bits a colour it decodes the upper 8, so that
    colours which differ in the lower 8 alone are transparent too.
    """
    clear = image.info.get("transparency")
    coded = next((tile[3] for tile in getattr(image, "tile", ())), None)
    if isinstance(clear, tuple) and coded == "RGB;16B":
        return tuple(value >> 8 for value in clear)
    return clear * GREY_STEPS.get(str(coded), 1) if isinstance(clear, int) else clear


def _most(image: Image.Image) -> float:
    """The value of white in a grey picture of floats, or of more than 8 bits."""
    if image.mode == "F":
        return 1.0
    return 2**12 - 1 if _tag(image, _BITS) == (12,) else MOST_16_BIT


def _tag(image: Image.Image, tag: int) -> Any:
    """The value of a TIFF's tag; None where there is none."""
    return getattr(image, "tag_v2", {}).get(tag)


def _scaled(values: np.ndarray, most: float) -> np.ndarray:
    """(height, width): grey values in 8 bits."""
    low, high = (float(end) for end in (values.min(), values.max()))
    require(low >= 0 and high <= most, f"its grey values are {low:g} to {high:g}, not within 0 to {most:g}")
    return np.rint(values * (255 / most)).astype(np.uint8)

"""Read a file that somebody else may have written, up to a size. Shell."""

from __future__ import annotations

import io
from pathlib import Path

from fsspec.compression import compr
from fsspec.utils import infer_compression

from pipeline.domain.checks import ConfigError, first_line, require, size_text

MOST_BYTES = 250_000_000
"""Default limit of a file of values: thirty zones by the hour take 15 MB a year."""


def content(owner: str, path: Path, most_bytes: int) -> io.BytesIO:
    """The content of a file, unpacked if its name ends in .gz, .bz2, .xz or .zip.

    owner: the group of the config that names the file under `path` and the limit under `most_bytes`. Raises
    ConfigError for what is not a regular file or cannot be read, and for content that is longer.
    """
    require(path.is_file(), f"{owner}.path: no such file ({path})")
    try:
        with path.open("rb") as packed, compr[infer_compression(str(path))](packed, mode="rb") as stream:
            data = stream.read(most_bytes + 1)
    except Exception as error:  # each format has its own for a broken file
        raise ConfigError(f"{owner}.path: cannot read {path} ({first_line(error)})") from error
    require_size(owner, path, len(data), most_bytes)
    return io.BytesIO(data)


def require_size(owner: str, path: Path, num_bytes: int, most_bytes: int) -> None:
    """Raise ConfigError if a file's content is longer than the limit."""
    require(
        num_bytes <= most_bytes,
        f"{owner}.path: {path} holds more than {size_text(most_bytes)} unpacked; set {owner}.most_bytes to "
        "read a file that is as large as that",
    )

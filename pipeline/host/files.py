"""Files that other processes only ever see whole. Shell."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that a reader sees the old or the new text.

    Raises OSError where it cannot be written; nothing is left behind then.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise

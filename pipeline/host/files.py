"""Atomic writes of files. Shell."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write a temporary file in the same folder, then rename it: a reader never sees a partial file.

    Raises OSError if the file cannot be written; the temporary file is then removed.
    """
    # Nobody can have put a link under a name that nobody could know.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise

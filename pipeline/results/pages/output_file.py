"""Files that a command leaves in the working directory. Shell."""

from __future__ import annotations

from pathlib import Path

from pipeline.domain.checks import ConfigError
from pipeline.host.files import write_atomically


def write_output(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises ConfigError naming it where it cannot be written."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise ConfigError(f"{path.absolute()}: cannot be written ({error.strerror})") from error

"""What a command cannot write ends in one line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.results.pages.output_file import write_output


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/gone/a.html: cannot be written \(No such file"):
        write_output(tmp_path / "gone" / "a.html", "text")

"""Files of the config groups, looked at as text before Hydra reads them: what it would misread. Shell.

Hydra takes a choice from the first folder that has it, ours, and YAML 1.1 (https://yaml.org/type/int.html)
reads `012` as 10 and `1:30` as 90.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra._internal.utils import get_args
from yaml import CSafeLoader

from pipeline.domain.checks import ConfigError, require
from pipeline.search.hydra_plugin import CONF

_MISREAD = re.compile(r"[-+]?(0[0-7_]+|[1-9][0-9_]*(:[0-5]?[0-9])+|[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*)")
"""Plain scalars that are a number to YAML, and not the one that a person reads: of base 8, and of base 60."""
_SUSPECT = re.compile(r"(?<![\w.])(0[0-7_]|[0-9][0-9_]*:[0-5])")
"""In the text of every file that has such a scalar: most files have none and need not be scanned."""


def require_as_meant(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a file that Hydra would pass over, and for one with a number that YAML misreads.

    arguments: those of Hydra's command line, of which `--config-dir` may name a folder of the user's own.
    """
    given = get_args(list(arguments)).config_dir
    own = [] if given is None else [Path(given)]
    for folder in own:
        _require_own_names(folder)
    for folder in (*own, CONF):
        for file in _files(folder):
            _require_plain_numbers(file)


def _require_own_names(folder: Path) -> None:
    """Raise ConfigError for a file of the folder that has the name of one of ours, and another text."""
    for ours in sorted(CONF.rglob("*.yaml")):
        theirs = folder / ours.relative_to(CONF)
        require(
            not theirs.is_file() or theirs.read_bytes() == ours.read_bytes(),
            f"--config-dir: {theirs} has the name of {ours}, which would be used: give it another",
        )


def _files(folder: Path) -> Iterator[Path]:
    """The folder's files in groups that the config has; the folder itself may be anybody's home."""
    for group in sorted(path for path in CONF.iterdir() if path.is_dir()):
        yield from sorted((folder / group.name).rglob("*.yaml"))


def _require_plain_numbers(file: Path) -> None:
    """Raise ConfigError naming the file and the line of a number that YAML would misread.

    What is not YAML is left to Hydra, which reads the files that are chosen.
    """
    try:
        text = file.read_text()
        found = _misread(text) if _SUSPECT.search(text) else None
    except (OSError, ValueError, yaml.YAMLError):
        return
    if found is not None:
        line, number = found
        raise ConfigError(
            f"{file}, line {line}: YAML reads {number:.60} as a number of base {60 if ':' in number else 8}: "
            "write it without a leading 0 or a colon, or in quotes where a text is meant"
        )


def _misread(text: str) -> tuple[int, str] | None:
    """The line, from 1, and the text of the first number that YAML would misread."""
    for token in yaml.scan(text, CSafeLoader):
        if isinstance(token, yaml.ScalarToken) and token.plain and _MISREAD.fullmatch(token.value):
            return token.start_mark.line + 1, token.value
    return None

"""An override that Hydra cannot read is one line, whose remedy works as it is printed."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from pipeline.search.override_text import unreadable

PARSER = OverridesParser.create()
NEEDS = "; a text with such characters needs quotes: "


def complaint(override: str) -> str:
    with pytest.raises(OverrideParseException) as error:
        PARSER.parse_overrides([override])
    return unreadable(override, error.value)


@pytest.mark.parametrize(
    "value",
    [
        "log/My logs (2)/requests, June #1.csv",
        "log/it's.csv",
        'log/the "last"  one.csv',
        "log/[new.csv",
        "C:\\logs (2)\\",
        "a & b; c*.csv",
    ],
)
def test_the_quoted_form_works_as_printed(value: str) -> None:
    line = complaint(f"workload.path={value}")
    assert line.startswith(f"workload.path={value}: ")
    assert "LexerNoViableAlt" not in line
    (argument,) = shlex.split(line.partition(NEEDS)[2])
    (override,) = PARSER.parse_overrides([argument])
    assert (override.key_or_group, override.value()) == ("workload.path", value)


def test_the_form_of_a_path_with_parentheses() -> None:
    path = "workload.path=log/My logs (2)/June #1.csv"
    reason = "mismatched input ' (' expecting <EOF>"
    assert complaint(path) == f"{path}: {reason}{NEEDS}'workload.path=\"log/My logs (2)/June #1.csv\"'"


@pytest.mark.parametrize("bad", ["a b=3", "a=(\n3"])
def test_where_quotes_do_not_help_none_are_asked_for(bad: str) -> None:
    line = complaint(bad)
    assert NEEDS not in line
    assert line.isprintable()


def test_hydras_reason_is_kept() -> None:
    assert "mismatch type argument start: str is incompatible" in complaint("a=range(x,2)")

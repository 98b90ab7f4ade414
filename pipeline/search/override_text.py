"""What to say of an override that Hydra's grammar cannot read. Pure."""

from __future__ import annotations

import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from pipeline.domain.checks import one_line

LEXER = "LexerNoViableAltException: "
"""Begin of Hydra's message that repeats the override, with a mark below it."""


def unreadable(override: str, error: HydraException) -> str:
    """One line: the override, Hydra's reason, and the form in which its value is read as text."""
    repeated = f"Error parsing override '{override}'"
    reason = one_line(str(error).partition("\nSee https://hydra.cc")[0].removeprefix(repeated))
    reason = "it has a character that begins nothing" if reason.startswith(LEXER) else reason
    as_text = quoted(override)
    if not as_text:
        return one_line(f"{override}: {reason}")
    return f"{override}: {reason}; a text with such characters needs quotes: {as_text}"


def quoted(override: str) -> str:
    """The override as a shell takes it, its value in quotes for Hydra; empty where that does not help."""
    if not override.isprintable():
        return ""
    key, equals, value = override.partition("=")
    line = f"{key}{equals}{QuotedString(value, Quote.double).with_quotes()}"
    try:
        OverridesParser.create().parse_override(line)
    except HydraException:  # it is the key that cannot be read
        return ""
    return shlex.quote(line)

"""Texts that only were read, made fit for a terminal. Pure."""

from __future__ import annotations

import re
from typing import Any

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that move a terminal's cursor, change its state, or turn the direction of a text."""


def printable(text: str) -> str:
    """A text with a mark in place of each control character; tabs and line breaks stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def all_printable(value: Any) -> Any:
    """The same for all texts in a value of mappings and lists, their keys too."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {all_printable(key): all_printable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [all_printable(each) for each in value]
    return value

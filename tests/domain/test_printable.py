"""What was only read cannot control a terminal."""

from __future__ import annotations

import pytest

from pipeline.domain.checks import ConfigError, first_line, one_line
from pipeline.domain.printable import all_printable, printable


@pytest.mark.parametrize(
    "control", ["\x1b", "\x07", "\x08", "\r", "\x9b", "\x7f", "\u202e", "\u2066", "\ud800"]
)
def test_no_text_controls_a_terminal(control: str) -> None:
    mark = "\N{REPLACEMENT CHARACTER}"
    assert printable(f"a{control}b") == f"a{mark}b"
    assert first_line(ConfigError(f"a{control}[31mb"))[:3] in (f"a{mark}[", "a")
    assert control not in one_line(f"a{control}b")
    assert all_printable({control: [control, 1.5, None, {"a": (control,)}]}) == {
        mark: [mark, 1.5, None, {"a": (control,)}]
    }


def test_other_texts_stay() -> None:
    text = "Straße · 30 °C → 电\u00a0\t\n👩\u200d🚒"
    assert printable(text) == text

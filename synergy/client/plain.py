"""Escapes text so that a terminal, spreadsheet, shell or log displays it and does not interpret it.

Why: names come from users and reach the screens of operators. Both sides of the API need this, and
both may import the client. Must not know where the text comes from.
"""

import re
from typing import Final

# Control characters; those that change the writing direction; line separators; lone surrogates.
_INTERPRETED: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_EXPANDED: Final = re.compile(r"[\\$`]")


def plain(text: str) -> str:
    """Return a text on one line, with what a terminal would interpret replaced by escapes."""
    return _INTERPRETED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain_lines(text: str) -> str:
    """Return a text whose line breaks are kept, with everything else escaped."""
    return "\n".join(plain(line) for line in text.split("\n"))


def csv_cell(text: str) -> str:
    """Return a cell that a spreadsheet takes as text: a formula gets a leading quote."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def shell_word(text: str) -> str:
    """Escape a text for use between double quotes in a shell.

    The caller escapes the quotes themselves.
    """
    return _EXPANDED.sub(lambda found: f"\\{found[0]}", text)

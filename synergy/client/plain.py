"""Text that a terminal, a spreadsheet, a shell or a log shows as it is, and does not obey.

Why: names come from users, and reach the screens of operators. Both sides of the API need this, and
the client is what both may import. Must not know where the text comes from.
"""

import re
from typing import Final

# Control characters; those that turn the direction of writing; line separators; lone surrogates.
_OBEYED: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_EXPANDED: Final = re.compile(r"[\\$`]")


def plain(text: str) -> str:
    """Return a text on one line, with what a terminal would obey written as an escape."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain_lines(text: str) -> str:
    """Return a text whose own lines are meant, with nothing else that a terminal would obey."""
    return "\n".join(plain(line) for line in text.split("\n"))


def csv_cell(text: str) -> str:
    """Return what a spreadsheet takes as text: a quote stands before the start of a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def shell_word(text: str) -> str:
    """Return a text that means itself between the double quotes of a shell.

    The quotes themselves are left to whoever writes them.
    """
    return _EXPANDED.sub(lambda found: f"\\{found[0]}", text)

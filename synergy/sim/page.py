"""A single HTML file with tables and plots, which needs nothing from anywhere.

Why: a report is sent by mail and opened without a network, and names in it come from logs that
anybody may have written: they are escaped here, once. Must not know what is reported.
"""

import base64
import html
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib

from synergy.core.errors import InvalidInput

matplotlib.use("Agg")  # before pyplot is imported: there may be no display
from matplotlib import pyplot as plt

__all__ = ["Plot", "check_file", "naming", "page", "paragraph", "plot", "plt", "shown", "table"]
matplotlib.rcParams["text.parse_math"] = False  # a name may hold a dollar
matplotlib.rcParams["svg.hashsalt"] = "synergy"  # the same plot gives the same file

_STYLE: Final = (
    "body{font:16px sans-serif;max-width:64rem;margin:auto;padding:1rem;color:#222}"
    "img{width:100%}pre{overflow-x:auto}figure{margin:2rem 0}figcaption{color:#555}"
    "table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}"
    "th,td{padding:.25rem .75rem;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child{text-align:left}"
)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot and what it shows, in words."""

    title: str
    image: str  # a data: URI


def plot(title: str, figure: Any, *, form: str = "svg") -> Plot:
    """Draw a figure of matplotlib, and close it; `form` is svg or png."""
    image = io.BytesIO()
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    unsigned = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(image, format=form, dpi=100, metadata=unsigned)
    plt.close(figure)
    kind = {"svg": "image/svg+xml", "png": "image/png"}[form]
    return Plot(title, f"data:{kind};base64,{base64.b64encode(image.getvalue()).decode()}")


def shown(one: Plot) -> str:
    """Return a plot as HTML."""
    title = html.escape(one.title)
    return f'<figure><img alt="{title}" src="{one.image}"><figcaption>{title}</figcaption></figure>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as HTML, its cells escaped."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """Return a paragraph as HTML."""
    return f"<p>{html.escape(text)}</p>"


def page(title: str, body: str) -> str:
    """Return a whole page; `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Synergy: {html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>{body}</html>\n"
    )


@contextmanager
def naming(option: str, path: Path) -> Iterator[None]:
    """Let an error of the file system name an option and its value. Raises InvalidInput."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{option} {path}: {reason}") from error


def check_file(option: str, path: Path) -> None:
    """Check before a long run that a file can be written. Raises InvalidInput."""
    with naming(option, path):
        if path.is_dir():
            raise IsADirectoryError(0, "is a folder, name a file")
        tempfile.TemporaryFile(dir=path.parent).close()

"""The marks by which users ask that a server is kept. Must not know what a project's rule says."""

from synergy.core.extension import KEEP_KEY
from synergy.ports import ServerView


def why_kept(view: ServerView) -> str:
    """Return why a server is to be kept, "" if it is not."""
    marked = f"it has the metadata {KEEP_KEY}" if KEEP_KEY in view.metadata else ""
    return "it is locked" if view.locked else marked

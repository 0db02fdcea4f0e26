"""The manager of who takes part, and its helpers: `manager` runs the others.

Must not know requests.
"""

from synergy.managers.project.manager import ProjectManager

__all__ = ["ProjectManager"]

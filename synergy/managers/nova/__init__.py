"""The manager of what Nova tells, and its helpers: `manager` runs the others.

Must not know quotas or priorities.
"""

from synergy.managers.nova.manager import NovaManager

__all__ = ["NovaManager"]

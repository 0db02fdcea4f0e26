"""The manager that decides who starts, and its helpers: `manager` runs the others.

Must not know messages or tables.
"""

from synergy.managers.scheduler.manager import SchedulerManager

__all__ = ["SchedulerManager"]

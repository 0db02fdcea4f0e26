"""The manager of usage and fair-share factors, and its helpers: `manager` runs the others.

Must not know the queue.
"""

from synergy.managers.fairshare.manager import FairShareManager

__all__ = ["FairShareManager"]

"""The manager that sizes the shared quota, and its helpers: `manager` runs the others.

Must not know requests, priorities or order.
"""

from synergy.managers.quota.manager import QuotaManager

__all__ = ["QuotaManager"]

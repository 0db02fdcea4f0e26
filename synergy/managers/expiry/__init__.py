"""The manager that ends shared servers, and its helpers: `manager` runs the others.

Must not know why a lifetime is what it is.
"""

from synergy.managers.expiry.ending import MAX_RETRY_S
from synergy.managers.expiry.manager import ExpiryManager

__all__ = ["MAX_RETRY_S", "ExpiryManager"]

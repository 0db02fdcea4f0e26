"""The manager that ends shared servers, and its helpers: `manager` runs the others.

Must not know why a lifetime is what it is.
"""

from synergy.managers.expiry.manager import MAX_RETRY_S, ExpiryManager

__all__ = ["MAX_RETRY_S", "ExpiryManager"]

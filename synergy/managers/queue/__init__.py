"""The manager of the queue, and its helpers: `manager` runs the others.

Must not know how a request is chosen or built.
"""

from synergy.managers.queue.manager import QueueManager

__all__ = ["QueueManager"]

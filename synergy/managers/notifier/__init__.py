"""The notifier: sends to others what happens to requests and quotas.

`manager.py` is the manager.
"""

from synergy.managers.notifier.manager import NotifierManager

__all__ = ["NotifierManager"]

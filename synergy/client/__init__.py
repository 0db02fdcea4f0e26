"""The Python client of the Synergy API: `Client`, `connect`, and the errors it raises."""

from synergy.client.api import ApiError, Unreachable
from synergy.client.client import Client, connect

__all__ = ["ApiError", "Client", "Unreachable", "connect"]

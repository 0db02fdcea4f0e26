"""The exceptions that cross a layer, each with the stable code that API, CLI and log show.

Must not know HTTP, SQL or AMQP: a driver translates each foreign exception it meets.
"""

from collections.abc import Sequence

from synergy.core.reasons import Reason


class SynergyError(Exception):
    """Base of all errors that Synergy raises; `code` never changes once published."""

    code = "internal_error"


class InvalidInput(SynergyError):
    """A caller sent a value that cannot be used; the text names it and what is allowed."""

    code = "invalid_input"


class NotFound(SynergyError):
    """The named object does not exist."""

    code = "not_found"


class Unauthenticated(SynergyError):
    """The caller gave no token, or one that Keystone does not know or that has expired."""

    code = "unauthenticated"


class PolicyDenied(SynergyError):
    """The caller may not do this; the text names the policy rule."""

    code = "policy_denied"


class PreconditionFailed(SynergyError):
    """The object changed since the caller read it: read it again, then decide."""

    code = "precondition_failed"


class Conflict(SynergyError):
    """Someone else changed or owns the object; reading it again and repeating may work."""

    code = "conflict"


class IllegalTransition(Conflict):
    """The event cannot happen to a request in its present state."""

    code = "illegal_transition"


class ExtensionRefused(Conflict):
    """The project's rule does not let a user extend this server; `reason` is the code why."""

    code = "extension_refused"

    def __init__(self, text: str, reason: Reason | None = None) -> None:
        super().__init__(text)
        self.reason = reason


class UpstreamUnavailable(SynergyError):
    """A service that Synergy depends on does not answer; the work is kept and retried."""

    code = "upstream_unavailable"


class TooManyRequests(SynergyError):
    """The caller exceeded its rate of expensive requests; retry later."""

    code = "too_many_requests"

    def __init__(self, text: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Overloaded(SynergyError):
    """Too many requests wait for an answer; retry later."""

    code = "overloaded"


class StoreUnavailable(UpstreamUnavailable):
    """The database does not answer, is locked, or its file is gone; nothing was written."""

    code = "store_unavailable"


class Deposed(StoreUnavailable):
    """Another process took over the database: this one must not change anything."""

    code = "deposed"


class HandOverFailed(UpstreamUnavailable):
    """A build request could not be handed to the conductor, and nothing was published."""

    code = "hand_over_failed"


class HandOverUnknown(UpstreamUnavailable):
    """The connection broke before the broker confirmed: a message may or may not be published."""

    code = "hand_over_unknown"


class SealBroken(SynergyError):
    """A stored request body cannot be opened with any of the configured keys."""

    code = "seal_broken"


class ConfigurationInvalid(SynergyError):
    """The service cannot start; `problems` lists everything that must be fixed."""

    code = "configuration_invalid"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def error_line(error: BaseException) -> str:
    """Return an error for a log line or a reason: on one line, in ASCII, of limited length."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return ascii(text[:300])[1:-1]

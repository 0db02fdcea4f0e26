"""Whether a user may let a shared server live longer: the rule of its project.

Must not know who asks, nor how: by the API and by metadata of the server the same holds.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from synergy.core.errors import ExtensionRefused, IllegalTransition, InvalidInput
from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import ExtendPolicy, Project, Request, State
from synergy.core.reasons import Reason, coded
from synergy.core.words import duration

EXTEND_KEY: Final = "synergy:extend_s"  # of a server's metadata: by how much its user extends it
REFUSED_KEY: Final = "synergy:extend_refused"  # why that was refused
KEEP_KEY: Final = "synergy:keep"
END_KEY: Final = "synergy:expires_at"
LONGEST_TTL_S: Final = 2**31 - 1  # databases keep it in 32 bits
_LONGEST_NUMBER: Final = len(str(LONGEST_TTL_S))


def seconds_of(text: str) -> int:
    """Return the seconds that a user wrote into metadata. Raises InvalidInput."""
    plain = text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
    if not plain or not 1 <= int(text) <= LONGEST_TTL_S:
        raise InvalidInput(
            f"{EXTEND_KEY} is {text[:40]!r}, but must be a whole number from 1 to {LONGEST_TTL_S}"
        )
    return int(text)


def _longer_by_s(request: Request, by_s: int, now: datetime) -> int:
    """Return how much longer the lifetime gets: of an overdue server also by what it is overdue."""
    ends_at = request.expires_at or now
    return by_s + max(0, ceil((now - ends_at).total_seconds()))


def check_rule(project: Project, request: Request, by_s: int, now: datetime, *, idle: bool) -> None:
    """Raise ExtensionRefused if the project's rule does not let a user extend a request by `by_s`.

    idle  no request waits for the shared quota
    """
    policy, maximum = project.extend_policy, project.max_extensions
    if policy is ExtendPolicy.NEVER:
        _refuse(Reason.EXTENSION_NOT_ALLOWED, f"extend_policy of project {project.name} is never")
    if maximum is not None and request.extensions >= maximum:
        _refuse(
            Reason.EXTENSIONS_USED_UP,
            f"it was extended {request.extensions} times, and max_extensions is {maximum}",
        )
    longest_s = project.max_ttl_s
    by_s = _longer_by_s(request, by_s, now)
    if longest_s is not None and request.ttl_s + by_s > longest_s:
        left_s = max(0, longest_s - request.ttl_s)
        _refuse(
            Reason.EXTENSION_TOO_LONG,
            f"it lives {duration(request.ttl_s)} and max_ttl_s is {duration(longest_s)}: it can be "
            f"extended by {left_s} s at most",
        )
    if policy is ExtendPolicy.WHEN_IDLE and not idle:
        _refuse(
            Reason.EXTENSION_NOT_IDLE,
            f"extend_policy of project {project.name} is when_idle, and requests wait for the "
            "shared quota",
        )


def _refuse(reason: Reason, text: str) -> None:
    raise ExtensionRefused(coded(reason, text), reason)


def extended(request: Request, by_s: int, now: datetime, *, by_user: bool) -> Move:
    """Return the move of a running shared server that lives `by_s` seconds longer, one that is
    overdue from now on.

    Raises IllegalTransition without an end to put off, and InvalidInput beyond what is stored.
    """
    request_id = request.request_id
    if request.state is not State.ACTIVE or request.expires_at is None:
        raise IllegalTransition(
            f"request {request_id} is {request.state} and has no end to extend: only a "
            "running server on the shared quota has one"
        )
    if request.ttl_s + _longer_by_s(request, by_s, now) > LONGEST_TTL_S:
        raise InvalidInput(
            f"by_s is {by_s}, but request {request_id} lives {request.ttl_s} s already, "
            f"and none may live longer than {LONGEST_TTL_S} s"
        )
    longer_by_s = _longer_by_s(request, by_s, now)
    later = request.expires_at + timedelta(seconds=longer_by_s)
    longer = replace(
        request,
        expires_at=later,
        ttl_s=request.ttl_s + longer_by_s,
        extensions=request.extensions + by_user,
        warned_s=None,
        not_before_at=None,
    )
    return transition(longer, Event.EXTENDED, now, why=f"until {later.isoformat()}")

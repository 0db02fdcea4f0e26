"""What the service tells of itself: errors, managers, health, versions and changes."""

from typing import Annotated, TypedDict

from synergy.core.audit import AuditOutcome
from synergy.core.declared.answers.parts import At, Count, words
from synergy.core.declared.shapes import Also, Instead


class OneError(TypedDict):
    """A ground why the API refused a call."""

    status: int
    code: str
    detail: str


class Error(TypedDict):
    """Why the API refused a call, or could not answer it."""

    errors: Annotated[list[OneError], Also({"minItems": 1})]


class CommandShown(TypedDict):
    """A command of a manager, with the schema of its arguments."""

    name: str
    help: str
    arguments: dict[str, object]
    changes: bool


class Manager(TypedDict):
    """A manager with its status and commands."""

    name: str
    status: Annotated[
        str,
        Also(
            {
                "enum": [
                    "CREATED", "STOPPED", "RUNNING", "DEGRADED", "STALLED", "ERROR", "DESTROYED",
                ]
            }
        ),
    ]  # fmt: skip
    runs: Count
    failures: Count
    last_run_at: At | None
    last_duration_s: float | None
    next_run_at: At | None
    last_error: str
    needed: bool
    autostart: bool
    stopped_means: str
    hindrance: str
    lag_s: float
    running_s: float | None
    unable_s: float
    stall_s: float
    commands: list[CommandShown]


class Readiness(TypedDict):
    """Whether the service is ready and healthy, why not, and each manager's status.

    `warnings` keep it from neither: a person has to look at them.
    """

    ready: bool
    healthy: bool
    why: list[str]
    warnings: list[str]
    managers: dict[str, str]


class Liveness(TypedDict):
    """That the service lives."""

    live: bool


class Health(Liveness, Readiness):
    """Whether the service is live, ready and healthy, why not, and what a person has to see."""


class Link(TypedDict):
    """Where something is."""

    rel: str
    href: str


class Version(TypedDict):
    """A version of the API."""

    id: str
    status: str
    version: str
    links: list[Link]


class Versions(TypedDict):
    """The versions of the API."""

    versions: list[Version]


class Change(TypedDict):
    """A change that somebody asked for through the API, and what became of it."""

    number: Count
    at: At
    request_id: str
    user_id: str | None
    user_name: str | None
    project_id: str | None
    roles: list[str]
    address: str
    operation: str
    target: str
    asked: dict[str, object]
    before: Annotated[dict[str, object] | None, Instead({"type": ["object", "null"]})]
    after: Annotated[dict[str, object] | None, Instead({"type": ["object", "null"]})]
    outcome: Annotated[str, words(AuditOutcome)]
    status: int | None
    why: str

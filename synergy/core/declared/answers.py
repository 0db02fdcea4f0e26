"""What managers and the service answer: plain values, typed, with what each may be.

Why: an answer leaves the manager's thread, the process, and soon the host, so it is made of texts,
numbers, lists and objects from the start; nothing has to be told apart again on the other side. The
schemas of the API, the OpenAPI document and the types of the client are made from these. A null
says that something does not apply, or is not the caller's to know. Must not know who asks.
"""

from enum import StrEnum
from typing import Annotated, Final, NotRequired, TypedDict

from synergy.core.audit import AuditOutcome
from synergy.core.declared import kinds
from synergy.core.declared.kinds import RESOURCE_CLASS_PATTERN
from synergy.core.declared.shapes import Also, Instead
from synergy.core.lifecycle import Event as LifecycleEvent
from synergy.core.model import Handover, QuotaKind, State
from synergy.core.reasons import Reason

OPERATORS_ONLY: Final = "x-operators-only"
FOREIGN_TEXT: Final = "x-foreign-text"
OPERATORS: Final = Also({OPERATORS_ONLY: True})  # null for everybody who does not operate the cloud
FOREIGN: Final = Also({FOREIGN_TEXT: True})  # beside an `event` or a `state`, in words of others


def _words(kind: type[StrEnum]) -> Also:
    return Also({"enum": [one.value for one in kind]})


Count = Annotated[int, Also({"minimum": 0})]
At = Annotated[str, Instead(kinds.Instant().schema())]
Amounts = Annotated[dict[str, int], Instead(kinds.Amounts().shown_schema())]
Hours = Annotated[
    dict[str, float],
    Instead(
        {
            "type": "object",
            "patternProperties": {RESOURCE_CLASS_PATTERN: {"type": "number"}},
            "additionalProperties": False,
        }
    ),
]
Limits = Annotated[
    dict[str, int | None],
    Instead({"type": "object", "additionalProperties": {"type": ["integer", "null"]}}),
]
RawShares = Annotated[int | str, Instead(kinds.Shares().schema())]
StateWord = Annotated[str, _words(State)]
QuotaWord = Annotated[str, _words(QuotaKind)]
EventWord = Annotated[str, _words(LifecycleEvent)]
ReasonWord = Annotated[str, _words(Reason)]


class OneError(TypedDict):
    """A ground why the API refused a call."""

    status: int
    code: str
    detail: str


class Error(TypedDict):
    """Why the API refused a call, or could not answer it."""

    errors: Annotated[list[OneError], Also({"minItems": 1})]


# --- the service and its managers -----------------------------------------------------------------


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
    """Whether the service is ready and healthy, why not, and each manager's status."""

    ready: bool
    healthy: bool
    why: list[str]
    managers: dict[str, str]


class Liveness(TypedDict):
    """That the service lives."""

    live: bool


class Health(Liveness, Readiness):
    """Whether the service is live, ready and healthy, and why not."""


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
    outcome: Annotated[str, _words(AuditOutcome)]
    status: int | None
    why: str


# --- projects -------------------------------------------------------------------------------------


class User(TypedDict):
    """A user of a project: this, and every setting of a user by its name."""

    user_id: str
    name: str
    active: bool
    revision: str


class Effects(TypedDict):
    """What a change of quotas does to the shared quota."""

    shared_before: Amounts
    shared_after: Amounts
    shortfall: Amounts
    would_wait: Count
    unknown: Amounts
    text: str


class Project(TypedDict):
    """A managed project: this, and every setting of a project by its name."""

    id: str
    name: str
    domain_id: str
    handover: Annotated[str, _words(Handover)]
    gone: bool
    managed_by: Annotated[
        str,
        Also({"description": "hand, or rule: and the part of `[project] manage` that names it."}),
    ]
    revision: str


class ProjectWithUsers(Project):
    """A managed project, shown alone."""

    users: list[User]


class TriedProject(Project):
    """A managed project as it would be after a change, and what that would do."""

    effects: Effects


class Removal(TypedDict):
    """What it would do to manage a project no longer; nothing was changed."""

    id: str
    name: str
    waiting: Count
    private_servers: Count
    shared_servers: Count
    shared_used: Amounts
    servers: Annotated[str, Also({"enum": ["keep", "expire"]})]
    last_end: At | None
    nova_quota: Limits
    text: str


class ComingProject(TypedDict):
    """A project that a rule takes in; `error` is why it could not be so far."""

    id: str
    name: str
    why: str
    error: str
    next_try_s: float | None


class LeavingProject(TypedDict):
    """A project that a rule manages no longer."""

    id: str
    name: str
    why: str
    waiting: Count


class ExceptedProject(TypedDict):
    """A project that a rule would manage without an exception."""

    id: str
    name: str
    why: str


class ProjectRule(TypedDict):
    """Which projects are managed by rule, and what applying the rule does."""

    rule: str
    dry_run: bool
    by_rule: Count
    by_hand: Count
    coming: Count
    leaving: Count
    excepted: Count
    suspended: bool
    text: str
    unknown_domains: list[str]
    who_comes: list[ComingProject]
    who_leaves: list[LeavingProject]
    who_is_excepted: list[ExceptedProject]


# --- requests -------------------------------------------------------------------------------------


class RequestRow(TypedDict):
    """A request as it is stored."""

    id: str
    name: str
    project_id: str
    user_id: str
    state: StateWord
    quota: QuotaWord
    flavor: str
    demand: Amounts
    qos: str
    nice: int
    ttl_s: Count
    batch_id: str | None
    class_id: int
    queued_at: At | None
    active_at: At | None
    expires_at: At | None
    retry_at: At | None
    attempts: Count
    host: Annotated[str | None, OPERATORS]
    why: Annotated[str, FOREIGN]
    revision: str
    reason: ReasonWord | None


Step = TypedDict(
    "Step",
    {
        "at": At,
        "from": StateWord,
        "to": StateWord,
        "event": EventWord,
        "round_id": str | None,
        "why": Annotated[str, FOREIGN],
        "reason": ReasonWord | None,
    },
)


class RequestWithHistory(RequestRow):
    """A request with its ledger; of an archived one the archive tells it."""

    history: list[Step]
    archived: bool


class Request(RequestRow):
    """A server that Synergy holds or held; `history` and `archived` only when it is shown alone."""

    history: NotRequired[list[Step]]
    archived: NotRequired[bool]


class _Numbered(TypedDict):
    number: Count
    project_id: str
    request_id: str


class Event(_Numbered, Step):
    """Something that happened to a request."""


class Quarantined(TypedDict):
    """A message that is kept aside for a person."""

    message_id: str
    at: str
    why: str


# --- rounds ---------------------------------------------------------------------------------------


class RoundSeen(TypedDict):
    """Which round an answer comes from, and how old it is."""

    round_id: str | None
    round_at: At | None
    age_s: float | None


class Terms(TypedDict):
    """The weighted terms of a priority, and their sum."""

    age: float
    association: float
    fairshare: float
    size: float
    partition: float
    qos: float
    tres: Hours
    site: float
    nice: float
    priority: int


class Bound(TypedDict):
    """What a request is bound by, in numbers."""

    scope: Annotated[str, Also({"enum": ["shared_quota", "borrow_limit", "private_quota"]})]
    node: str
    resource_class: str
    needed: int
    free: int
    limit: int
    used: int
    own: int


class Release(TypedDict):
    """Capacity that comes free."""

    at: At
    freed: Amounts
    servers: Count


class SmallerFlavor(TypedDict):
    """A flavor that would start now."""

    name: str
    demand: Amounts


class Unblocked(TypedDict):
    """What comes free and when, the latest start, and flavors that would start now."""

    releases: list[Release]
    enough_at: At | None
    reserved_at: At | None
    estimated_start: At | None
    smaller_flavors: list[SmallerFlavor]


class _Why(TypedDict):
    id: str
    state: StateWord
    reason: ReasonWord | None
    text: str
    bounds: list[Bound]
    position: Count | None
    priority: Terms | None
    unblocked_by: Unblocked | None


class Explanation(_Why, RoundSeen):
    """Why a request waits; what the numbers mean is in the documentation."""


class _Outcome(TypedDict):
    count: Count
    quota: QuotaWord
    demand: Amounts
    starts_now: Count
    reason: ReasonWord | None
    text: str
    bounds: list[Bound]
    estimated_first_start: At | None
    estimated_last_start: At | None


class Simulation(_Outcome, RoundSeen):
    """What would become of servers that were asked for now."""


class Priority(TypedDict):
    """A queued request with the weighted terms of its priority."""

    id: str
    name: str
    project_id: str
    user_id: str
    quota: QuotaWord
    priority: Terms | None


class Round(TypedDict):
    """The last round and its counters."""

    waiting: Count | None
    classes: Count
    round_id: str | None
    round_at: At | None
    rounds: Count
    dispatched: Count
    conflicts: Count
    unknown: Count
    changes_passed: Count
    changes_refused: Count
    site_factor_errors: dict[str, object]
    reasons: dict[str, Count]


# --- quota, shares and usage ----------------------------------------------------------------------


class ProjectQuota(TypedDict):
    """What a project owns and holds."""

    id: str
    name: str
    private: Amounts
    private_used: Amounts
    shared_used: Amounts
    max_private_servers: Count | None
    private_servers: Count
    borrow_limit: Amounts | None
    lend_limit: Amounts | None


class Quota(TypedDict):
    """The shared quota, and who owns and holds what; null is an administrator's to know."""

    total: Annotated[Amounts | None, OPERATORS]
    private_unmanaged: Annotated[Amounts | None, OPERATORS]
    shared: Amounts
    shortfall: Annotated[Amounts | None, OPERATORS]
    lent: Annotated[Amounts | None, OPERATORS]
    shared_used: Annotated[Amounts | None, OPERATORS]
    shared_free: Amounts
    shortfall_causes: Annotated[
        dict[str, list[str]] | None,
        Instead(
            {
                "type": ["object", "null"],
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            }
        ),
        OPERATORS,
    ]
    warnings: Annotated[
        list[str] | None,
        Instead({"type": ["array", "null"], "items": {"type": "string"}}),
        OPERATORS,
    ]
    projects: list[ProjectQuota]


class Share(TypedDict):
    """A row of the share tree."""

    id: str
    parent: str | None
    user: str | None
    raw_shares: RawShares
    norm_shares: float | None
    raw_usage: float
    norm_usage: float
    effective_usage: float
    level_fs: Annotated[
        float | str | None,
        Instead(
            {
                "anyOf": [
                    {"type": "number"}, {"const": "inf", "type": "string"}, {"type": "null"},
                ]
            }
        ),
    ]  # fmt: skip
    rank: Count | None
    fairshare: float | None
    why: str


class Shares(TypedDict):
    """The share tree, and when its factors were computed."""

    computed_at: At | None
    shares: list[Share]


class Usage(TypedDict):
    """What somebody used in a time."""

    begin: At
    end: At
    project_id: str | None
    project: str | None
    user_id: str | None
    user: str | None
    quota: QuotaWord | None
    servers: Count
    resource_hours: Hours
    billed_hours: float
    promised_share: Annotated[float | None, OPERATORS]
    delivered_share: Annotated[float | None, OPERATORS]


class UsageReport(TypedDict):
    """What was used in a time, by period and group."""

    begin: At
    end: At
    usage: list[Usage]


# --- ends -----------------------------------------------------------------------------------------


class ClockShown(TypedDict):
    """Whether the wall clock is believed."""

    trusted: bool
    wall: At
    now: At
    off_s: float


class RefusedEnd(TypedDict):
    """A server that Nova does not end."""

    id: str
    why: str
    next_try_at: At


class Expiry(TypedDict):
    """Whether servers are ended when their lifetimes are over, or why not."""

    suspended: bool
    reason: Annotated[str, Also({"enum": ["clock", "most_per_pass"]})] | None
    text: str
    since: At | None
    due: Count
    due_on_resume: Count
    expiring: Count
    next_end: At | None
    most_per_pass: Count
    clock: ClockShown
    refused: list[RefusedEnd]


class QuarantineSize(TypedDict):
    """How many messages are kept aside, how many may be, and how many rows of each table were found
    damaged since the start and set aside."""

    quarantined: int
    quarantine_max: int
    damaged: dict[str, int]


class ArchiveStatus(TypedDict):
    """What was archived, what the archive holds, and what waits aside."""

    keep_days: int
    since_start: dict[str, int]
    archived: dict[str, int]
    quarantined: int
    quarantine_max: int


class Notifier(TypedDict):
    """How far notifications are sent, what waits, and what was sent and dropped since the start.

    position  number of the last entry of the ledger that was sent
    waiting   entries behind it
    """

    active: bool
    position: Count | None
    waiting: Count
    oldest_waiting_at: At | None
    lag_s: float
    sent: Count
    dropped: Count
    last_error: str


class Reset(TypedDict):
    """That all usage was cleared, and of how many users; `reset_at` is null after a dry run."""

    reset_at: str | None
    users: Count


class TrustShown(TypedDict):
    """Whom a trust is kept for."""

    project_id: str
    user_id: str


# The nouns of the API; of a project and a user the settings are shown besides.
COMPONENTS: Final[dict[str, type]] = {
    one.__name__: one
    for one in (
        Error, Manager, Project, ProjectRule, Effects, Removal, User, Request, Explanation,
        Simulation, Quota, Expiry, Share, Priority, Usage, Event, Change, Round, Health, Liveness,
        Versions,
    )
}  # fmt: skip

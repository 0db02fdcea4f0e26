"""What the API answers, typed: made from its schemas by `make sample`, not by hand."""

from typing import NotRequired, TypedDict

Amounts = dict[str, int]


class OneError(TypedDict):
    """A ground why the API refused a call."""

    status: int
    code: str
    detail: str


class Error(TypedDict):
    """Why the API refused a call, or could not answer it."""

    errors: list[OneError]


class CommandShown(TypedDict):
    """A command of a manager, with the schema of its arguments."""

    name: str
    help: str
    arguments: dict[str, object]
    changes: bool


class Manager(TypedDict):
    """A manager with its status and commands."""

    name: str
    status: str
    runs: int
    failures: int
    last_run_at: str | None
    last_duration_s: float | None
    next_run_at: str | None
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


class User(TypedDict):
    """A user of a project."""

    user_id: str
    name: str
    raw_shares: int | str
    priority: int | None
    active: bool
    revision: str


class Effects(TypedDict):
    """What a change of quotas does to the shared quota."""

    shared_before: Amounts
    shared_after: Amounts
    shortfall: Amounts
    would_wait: int
    unknown: Amounts
    text: str


class Project(TypedDict):
    """A managed project; `users` only when it is shown alone, `effects` after a dry run."""

    id: str
    name: str
    domain_id: str
    raw_shares: int | str
    priority: int | None
    default_quota: str
    on_private_full: str
    ttl_s: int
    expiry_action: str
    on_keep: str
    extend_policy: str
    max_ttl_s: int | None
    max_extensions: int | None
    on_build_failure: str
    on_lost: str
    max_waiting: int
    max_waiting_per_user: int
    suspended: bool
    private: Amounts
    max_private_servers: int | None
    borrow_limit: Amounts | None
    lend_limit: Amounts | None
    handover: str
    gone: bool
    managed_by: str
    revision: str
    users: NotRequired[list[User]]
    effects: NotRequired[Effects]


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
    waiting: int


class ExceptedProject(TypedDict):
    """A project that a rule would manage without an exception."""

    id: str
    name: str
    why: str


class ProjectRule(TypedDict):
    """Which projects are managed by rule, and what applying the rule does."""

    rule: str
    dry_run: bool
    by_rule: int
    by_hand: int
    coming: int
    leaving: int
    excepted: int
    suspended: bool
    text: str
    unknown_domains: list[str]
    who_comes: list[ComingProject]
    who_leaves: list[LeavingProject]
    who_is_excepted: list[ExceptedProject]


class Removal(TypedDict):
    """What it would do to manage a project no longer; nothing was changed."""

    id: str
    name: str
    waiting: int
    private_servers: int
    shared_servers: int
    shared_used: Amounts
    servers: str
    last_end: str | None
    nova_quota: dict[str, int | None]
    text: str


Step = TypedDict(
    "Step",
    {
        "at": str,
        "from": str,
        "to": str,
        "event": str,
        "round_id": str | None,
        "why": str,
        "reason": str | None,
    },
)


class Request(TypedDict):
    """A server that Synergy holds or held; `history` and `archived` only when it is shown alone."""

    forecast_p50_at: str | None
    forecast_p90_at: str | None
    forecast_text: str
    id: str
    name: str
    project_id: str
    user_id: str
    state: str
    quota: str
    quotas: list[str]
    flavor: str
    demand: Amounts
    qos: str
    nice: int
    ttl_s: int
    batch_id: str | None
    class_id: int
    queued_at: str | None
    active_at: str | None
    expires_at: str | None
    retry_at: str | None
    attempts: int
    host: str | None
    why: str
    revision: str
    reason: str | None
    history: NotRequired[list[Step]]
    archived: NotRequired[bool]


class Bound(TypedDict):
    """What a request is bound by, in numbers."""

    scope: str
    node: str
    resource_class: str
    needed: int
    free: int
    limit: int
    used: int
    own: int


class Terms(TypedDict):
    """The weighted terms of a priority, and their sum."""

    age: float
    association: float
    fairshare: float
    size: float
    partition: float
    qos: float
    tres: dict[str, float]
    site: float
    nice: float
    priority: int


class Release(TypedDict):
    """Capacity that comes free."""

    at: str
    freed: Amounts
    servers: int


class SmallerFlavor(TypedDict):
    """A flavor that would start now."""

    name: str
    demand: Amounts


class Unblocked(TypedDict):
    """What comes free and when, the latest start, and flavors that would start now."""

    releases: list[Release]
    enough_at: str | None
    reserved_at: str | None
    estimated_start: str | None
    smaller_flavors: list[SmallerFlavor]


class Explanation(TypedDict):
    """Why a request waits; what the numbers mean is in the documentation."""

    id: str
    state: str
    quotas: list[str]
    reason: str | None
    text: str
    bounds: list[Bound]
    position: int | None
    priority: Terms | None
    unblocked_by: Unblocked | None
    forecast_p50_at: str | None
    forecast_p90_at: str | None
    forecast_text: str
    round_id: str | None
    round_at: str | None
    age_s: float | None


class Simulation(TypedDict):
    """What would become of servers that were asked for now."""

    count: int
    quota: str
    demand: Amounts
    starts_now: int
    reason: str | None
    text: str
    bounds: list[Bound]
    estimated_first_start: str | None
    estimated_last_start: str | None
    round_id: str | None
    round_at: str | None
    age_s: float | None


class Foreseen(TypedDict):
    """How a queue runs to its end; up to `until` of the answer."""

    requests: int
    starts: int
    mean_wait_s: float
    utilisation: float
    share_error: float
    last_start: str | None


class ShiftedProject(TypedDict):
    """How the requests of a project fare."""

    earlier: int
    later: int
    same: int
    never: int
    after_all: int
    mean_change_s: float
    project_id: str
    name: str


class ShiftedClass(TypedDict):
    """How requests that ask for the same fare."""

    earlier: int
    later: int
    same: int
    never: int
    after_all: int
    mean_change_s: float
    project_id: str
    user_id: str
    demand: Amounts


class ShiftedRequest(TypedDict):
    """A request that starts earlier or later; null where it never starts."""

    id: str
    project_id: str
    before: str | None
    after: str | None
    change_s: float | None


class Hypothetical(TypedDict):
    """What becomes of the servers that somebody would ask for."""

    count: int
    starts: int
    first_start: str | None
    last_start: str | None


class WhatIf(TypedDict):
    """Who would start earlier or later; nothing of it happens."""

    supposed: list[str]
    until: str
    before: Foreseen
    after: Foreseen
    projects: list[ShiftedProject]
    classes: list[ShiftedClass]
    most_earlier: list[ShiftedRequest]
    most_later: list[ShiftedRequest]
    hypothetical: Hypothetical | None
    seconds: float
    round_id: str | None
    round_at: str | None
    age_s: float | None


class ProjectQuota(TypedDict):
    """What a project owns and holds."""

    id: str
    name: str
    private: Amounts
    private_used: Amounts
    shared_used: Amounts
    max_private_servers: int | None
    private_servers: int
    borrow_limit: Amounts | None
    lend_limit: Amounts | None


class Quota(TypedDict):
    """The shared quota, and who owns and holds what; null is an administrator's to know."""

    total: Amounts | None
    private_unmanaged: Amounts | None
    shared: Amounts
    shortfall: Amounts | None
    lent: Amounts | None
    shared_used: Amounts | None
    shared_free: Amounts
    shortfall_causes: dict[str, list[str]] | None
    warnings: list[str] | None
    projects: list[ProjectQuota]


class Share(TypedDict):
    """A row of the share tree."""

    id: str
    parent: str | None
    user: str | None
    raw_shares: int | str
    norm_shares: float | None
    raw_usage: float
    norm_usage: float
    effective_usage: float
    level_fs: float | str | None
    rank: int | None
    fairshare: float | None
    why: str


class Usage(TypedDict):
    """What somebody used in a time."""

    begin: str
    end: str
    project_id: str | None
    project: str | None
    user_id: str | None
    user: str | None
    quota: str | None
    servers: int
    resource_hours: dict[str, float]
    billed_hours: float
    promised_share: float | None
    delivered_share: float | None


class Priority(TypedDict):
    """A queued request with the weighted terms of its priority."""

    id: str
    name: str
    project_id: str
    user_id: str
    quota: str
    quotas: list[str]
    priority: Terms | None


class Round(TypedDict):
    """The last round and its counters."""

    waiting: int | None
    classes: int
    round_id: str | None
    round_at: str | None
    rounds: int
    dispatched: int
    conflicts: int
    unknown: int
    changes_passed: int
    changes_refused: int
    site_factor_errors: dict[str, object]
    reasons: dict[str, int]


# Something that happened to a request.
Event = TypedDict(
    "Event",
    {
        "number": int,
        "project_id": str,
        "request_id": str,
        "at": str,
        "from": str,
        "to": str,
        "event": str,
        "round_id": str | None,
        "why": str,
        "reason": str | None,
    },
)


class MethodScore(TypedDict):
    """The score of one way to forecast, of some requests."""

    group: str
    method: str
    count: int
    coverage_50: float
    coverage_90: float
    pinball_50_s: float
    pinball_90_s: float
    width_by_wait: float


class ForecastScore(TypedDict):
    """How well forecasts held, beside two that are cheap, by horizon and size."""

    resolved: int
    waiting: int
    needed: int
    text: str
    scores: list[MethodScore]


class OutlookStart(TypedDict):
    """When so many servers have started, and when at the latest with the lifetimes of today."""

    servers: int
    p50_at: str | None
    p90_at: str | None
    latest_at: str | None


class OutlookFlavor(TypedDict):
    """What would become of servers of a flavor."""

    flavor: str
    demand: Amounts
    quota: str
    starts_now: int
    starts: list[OutlookStart]
    text: str


class Outlook(TypedDict):
    """When servers of a project would start that nobody asked for yet, by flavor."""

    project_id: str
    at: str
    flavors: list[OutlookFlavor]
    left_out: list[str]
    text: str


class ClockShown(TypedDict):
    """Whether the wall clock is believed."""

    trusted: bool
    wall: str
    now: str
    off_s: float


class RefusedEnd(TypedDict):
    """A server that Nova does not end."""

    id: str
    why: str
    next_try_at: str


class Expiry(TypedDict):
    """Whether servers are ended when their lifetimes are over, or why not."""

    suspended: bool
    reason: str | None
    text: str
    since: str | None
    due: int
    due_on_resume: int
    expiring: int
    next_end: str | None
    most_per_pass: int
    clock: ClockShown
    refused: list[RefusedEnd]


class Change(TypedDict):
    """A change that somebody asked for through the API, and what became of it."""

    number: int
    at: str
    request_id: str
    user_id: str | None
    user_name: str | None
    project_id: str | None
    roles: list[str]
    address: str
    operation: str
    target: str
    asked: dict[str, object]
    before: dict[str, object] | None
    after: dict[str, object] | None
    outcome: str
    status: int | None
    why: str


class Health(TypedDict):
    """Whether the service is live, ready and healthy, why not, and what a person has to see."""

    live: bool
    ready: bool
    healthy: bool
    why: list[str]
    warnings: list[str]
    managers: dict[str, str]


class Liveness(TypedDict):
    """That the service lives."""

    live: bool


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

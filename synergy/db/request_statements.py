"""The statements that requests are read and written with, each made once.

Why: as in `usage_statements`, to make one again takes longer than the database needs to answer it.
Must not know what is done with the rows.
"""

from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    union_all,
    update,
)

from synergy.core.lifecycle import TERMINAL, WAITING, Step
from synergy.core.model import OnPrivateFull, QuotaKind, State
from synergy.db.columns import (
    LATEST,
    Instant,
    SoughtServer,
)
from synergy.db.models import (
    BodyRow,
    ClassRow,
    ProjectRow,
    RequestRow,
    SeriesRow,
    SpanRow,
    StepRow,
)
from synergy.db.usage_statements import HOLDING

FIXED: Final = (
    "request_id", "batch_id", "project_id", "user_id", "server_name", "queued_at",
)  # fmt: skip
CHANGING: Final = (
    "class_id", "flavor", "state", "changed_at", "ttl_s", "held_from", "released_at", "active_at",
    "expires_at", "not_before_at", "warned_s", "extensions", "retry_at", "attempts", "host",
    "reason", "why",
)  # fmt: skip
VALUE_COLUMNS: Final = (*FIXED, *CHANGING, "generation")
STEP: Final = tuple(Step.__dataclass_fields__)
COLUMNS: Final = [getattr(RequestRow, name) for name in VALUE_COLUMNS]
CLASS_ID: Final = VALUE_COLUMNS.index("class_id")
HOLDS: Final = and_(*HOLDING)
SAVE: Final = (
    update(RequestRow)
    .where(RequestRow.request_id == bindparam("key"), RequestRow.generation == bindparam("read"))
    .values({name: bindparam(f"new_{name}") for name in (*CHANGING, "generation")})
)
REQUESTS: Final = select(*COLUMNS)
IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True, type_=SoughtServer())
KNOWN: Final = select(RequestRow.request_id).where(RequestRow.request_id.in_(IDS))
FIND: Final = REQUESTS.where(RequestRow.request_id.in_(IDS))
STANDING: Final = (
    RequestRow.request_id,
    RequestRow.state,
    RequestRow.class_id,
    RequestRow.retry_at,
    RequestRow.reason,
)
STANDINGS: Final = select(*STANDING).where(RequestRow.request_id.in_(IDS))
BODIES: Final = select(BodyRow.request_id, BodyRow.sealed).where(BodyRow.request_id.in_(IDS))
FORGET: Final = delete(BodyRow).where(BodyRow.request_id.in_(IDS))
WITH_BODY: Final = (
    REQUESTS.join(BodyRow, BodyRow.request_id == RequestRow.request_id)
    .where(RequestRow.state == bindparam("state"))
    .order_by(RequestRow.seq)
)
DELAYED: Final = REQUESTS.where(RequestRow.state == State.QUEUED, RequestRow.retry_at.is_not(None))
HELD: Final = select(RequestRow.class_id, func.count()).where(HOLDS).group_by(RequestRow.class_id)
SPAN: Final = (
    RequestRow.class_id,
    RequestRow.host,
    RequestRow.held_from,
    RequestRow.released_at,
)
HOLDS_SINCE: Final = union_all(  # each half has its index; an OR of both would read every row
    select(*SPAN, func.count()).where(HOLDS).group_by(*SPAN),
    select(*SPAN, func.count())
    .where(RequestRow.released_at > bindparam("at", type_=Instant))
    .group_by(*SPAN),
)
ENDS: Final = (
    select(RequestRow.class_id, RequestRow.expires_at, func.count())
    .where(HOLDS)
    .group_by(RequestRow.class_id, RequestRow.expires_at)
)
EARLIER_SINCE: Final = (
    select(
        SeriesRow.association_id, SeriesRow.demand, SeriesRow.qos, SpanRow.host,
        SpanRow.held_from, SpanRow.released_at, func.count(),
    )
    .join(SeriesRow, SeriesRow.series_id == SpanRow.series_id)
    .where(
        SpanRow.released_at > bindparam("at", type_=Instant), SeriesRow.quota == QuotaKind.SHARED
    )
    .group_by(
        SpanRow.series_id, SeriesRow.association_id, SeriesRow.demand, SeriesRow.qos, SpanRow.host,
        SpanRow.held_from, SpanRow.released_at,
    )
    .order_by(SpanRow.series_id, SpanRow.host, SpanRow.held_from, SpanRow.released_at)
)  # fmt: skip
PRESENT_SPANS: Final = select(
    RequestRow.request_id, RequestRow.project_id, RequestRow.user_id, RequestRow.class_id,
    RequestRow.host, RequestRow.held_from, RequestRow.released_at,
).where(RequestRow.request_id.in_(IDS), RequestRow.held_from.is_not(None))  # fmt: skip
LIVE: Final = sorted(set(State) - TERMINAL)
LIVE_COUNTS: Final = (
    select(RequestRow.state, func.count())
    .where(RequestRow.state.in_(LIVE))
    .group_by(RequestRow.state)
)
STEP_COLUMNS: Final = [getattr(StepRow, name) for name in STEP]
ENTRY: Final = (StepRow.seq, StepRow.project_id, *STEP_COLUMNS)
EXPIRING: Final = REQUESTS.where(RequestRow.state == State.EXPIRING).order_by(RequestRow.seq)
LIVING: Final = RequestRow.state.in_([State.ACTIVE, State.ERROR])  # what failed ends in time, too
BY_END: Final = (RequestRow.expires_at, RequestRow.seq)
ENDING: Final = REQUESTS.where(
    LIVING, RequestRow.expires_at <= bindparam("by", type_=Instant)
).order_by(*BY_END)
MAX_WARNED: Final = 1000  # in one pass; the next one follows soon
TO_WARN: Final = (
    REQUESTS.where(
        LIVING,
        RequestRow.expires_at <= bindparam("by", type_=Instant),
        RequestRow.ttl_s > bindparam("lead_s"),
        or_(RequestRow.warned_s.is_(None), RequestRow.warned_s > bindparam("lead_s")),
    )
    .order_by(RequestRow.expires_at, RequestRow.seq)
    .limit(MAX_WARNED)
)
NEXT_EXPIRY: Final = select(func.min(RequestRow.expires_at)).where(
    LIVING,
    RequestRow.expires_at > bindparam("after", type_=Instant),
    RequestRow.expires_at <= LATEST,
)
SHOWN: Final = RequestRow.shown_end_at
UNSHOWN: Final = REQUESTS.where(
    RequestRow.state == State.ACTIVE,
    or_(
        and_(RequestRow.expires_at.is_not(None), SHOWN.is_(None)),
        and_(RequestRow.expires_at.is_(None), SHOWN.is_not(None)),
        RequestRow.expires_at != SHOWN,
    ),
).order_by(RequestRow.expires_at)
MAY_BORROW: Final = or_(
    ClassRow.quota == QuotaKind.SHARED, ClassRow.on_private_full == OnPrivateFull.SHARED
)
WAITING_TO_BORROW: Final = (
    select(RequestRow.class_id, func.count())
    .join(ClassRow, ClassRow.class_id == RequestRow.class_id)
    .join(ProjectRow, ProjectRow.project_id == RequestRow.project_id)
    .where(
        RequestRow.state == State.QUEUED, MAY_BORROW, ProjectRow.__table__.c.suspended.is_(False)
    )
    .group_by(RequestRow.class_id)
)

WAITING_COUNTS: Final = (
    select(RequestRow.project_id, RequestRow.user_id, func.count())
    .where(RequestRow.project_id.in_(IDS), RequestRow.state.in_(WAITING))
    .group_by(RequestRow.project_id, RequestRow.user_id)
)

"""The tables, typed, by what they are about; importing this makes all of them known.

Must not know how rows become values.
"""

from synergy.db.models.accounts import (
    AssociationRow,
    DomainRow,
    ProjectRow,
    TrustIntentRow,
    TrustRow,
)
from synergy.db.models.base import Base
from synergy.db.models.forecasts import ForecastRow
from synergy.db.models.requests import (
    BodyRow,
    ClassRow,
    OutboxRow,
    QuarantineRow,
    RequestRow,
    StepRow,
)
from synergy.db.models.safety import (
    ArchiveRow,
    AuditRow,
    ClockMarkRow,
    ExpiryBrakeRow,
    LeadershipRow,
)
from synergy.db.models.usage import (
    DayRow,
    FinishedRow,
    HourRow,
    LedgerHourRow,
    RollupProgressRow,
    SeriesRow,
    SpanRow,
    UsageRow,
    UsageStateRow,
)

__all__ = [
    "ArchiveRow",
    "AssociationRow",
    "AuditRow",
    "Base",
    "BodyRow",
    "ClassRow",
    "ClockMarkRow",
    "DayRow",
    "DomainRow",
    "ExpiryBrakeRow",
    "FinishedRow",
    "ForecastRow",
    "HourRow",
    "LeadershipRow",
    "LedgerHourRow",
    "OutboxRow",
    "ProjectRow",
    "QuarantineRow",
    "RequestRow",
    "RollupProgressRow",
    "SeriesRow",
    "SpanRow",
    "StepRow",
    "TrustIntentRow",
    "TrustRow",
    "UsageRow",
    "UsageStateRow",
]

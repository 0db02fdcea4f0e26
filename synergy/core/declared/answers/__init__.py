"""What managers and the service answer: plain values, typed, with what each may be.

Why: an answer leaves the manager's thread, the process, and soon the host, so it is made of texts,
numbers, lists and objects from the start; nothing has to be told apart again on the other side. The
schemas of the API, the OpenAPI document and the types of the client are made from these. A null
says that something does not apply, or is not the caller's to know. Must not know who asks.
"""

from typing import Final

from synergy.core.declared.answers.ends import (
    ArchiveStatus,
    ClockShown,
    Expiry,
    Notifier,
    QuarantineSize,
    RefusedEnd,
    Reset,
    TrustShown,
)
from synergy.core.declared.answers.forecasts import (
    ForecastScore,
    MethodScore,
    Outlook,
    OutlookFlavor,
    OutlookStart,
    StartForecast,
)
from synergy.core.declared.answers.parts import FOREIGN_TEXT, OPERATORS_ONLY
from synergy.core.declared.answers.projects import (
    ComingProject,
    Effects,
    ExceptedProject,
    LeavingProject,
    Project,
    ProjectRule,
    ProjectWithUsers,
    Removal,
    TriedProject,
    User,
)
from synergy.core.declared.answers.requests import (
    Event,
    Quarantined,
    Request,
    RequestRow,
    RequestWithHistory,
    Step,
)
from synergy.core.declared.answers.rounds import (
    Bound,
    Explanation,
    Priority,
    Release,
    Round,
    RoundSeen,
    Simulation,
    SmallerFlavor,
    Terms,
    Unblocked,
)
from synergy.core.declared.answers.service import (
    Change,
    CommandShown,
    Error,
    Health,
    Link,
    Liveness,
    Manager,
    OneError,
    Readiness,
    Version,
    Versions,
)
from synergy.core.declared.answers.supposed import (
    Foreseen,
    Hypothetical,
    Shifted,
    ShiftedClass,
    ShiftedProject,
    ShiftedRequest,
    WhatIf,
)
from synergy.core.declared.answers.usage import (
    ProjectQuota,
    Quota,
    Share,
    Shares,
    Usage,
    UsageReport,
)

# The nouns of the API; of a project and a user the settings are shown besides.
COMPONENTS: Final[dict[str, type]] = {
    one.__name__: one
    for one in (
        Error, Manager, Project, ProjectRule, Effects, Removal, User, Request, Explanation,
        Simulation, WhatIf, Quota, Expiry, Share, Priority, Usage, Event, Change, Round,
        ForecastScore, Outlook, Health, Liveness, Versions,
    )
}  # fmt: skip

__all__ = [
    "COMPONENTS",
    "FOREIGN_TEXT",
    "OPERATORS_ONLY",
    "ArchiveStatus",
    "Bound",
    "Change",
    "ClockShown",
    "ComingProject",
    "CommandShown",
    "Effects",
    "Error",
    "Event",
    "ExceptedProject",
    "Expiry",
    "Explanation",
    "ForecastScore",
    "Foreseen",
    "Health",
    "Hypothetical",
    "LeavingProject",
    "Link",
    "Liveness",
    "Manager",
    "MethodScore",
    "Notifier",
    "OneError",
    "Outlook",
    "OutlookFlavor",
    "OutlookStart",
    "Priority",
    "Project",
    "ProjectQuota",
    "ProjectRule",
    "ProjectWithUsers",
    "QuarantineSize",
    "Quarantined",
    "Quota",
    "Readiness",
    "RefusedEnd",
    "Release",
    "Removal",
    "Request",
    "RequestRow",
    "RequestWithHistory",
    "Reset",
    "Round",
    "RoundSeen",
    "Share",
    "Shares",
    "Shifted",
    "ShiftedClass",
    "ShiftedProject",
    "ShiftedRequest",
    "Simulation",
    "SmallerFlavor",
    "StartForecast",
    "Step",
    "Terms",
    "TriedProject",
    "TrustShown",
    "Unblocked",
    "Usage",
    "UsageReport",
    "User",
    "Version",
    "Versions",
    "WhatIf",
]

"""What managers and the service answer: plain values, typed, with what each may be.

Why: an answer leaves the manager's thread, the process, and soon the host, so it is made of texts,
numbers, lists and objects from the start; nothing has to be told apart again on the other side. The
schemas of the API, the OpenAPI document and the types of the client are made from these. What is
only read stands beside its answer, as a `Read`. A null says that something does not apply, or is
not the caller's to know. Must not know who asks.
"""

from typing import Any, Final

from synergy.core.declared.answers import (
    ends,
    forecasts,
    projects,
    requests,
    rounds,
    service,
    supposed,
    usage,
)
from synergy.core.declared.read import Read

READS: Final[tuple[Read[Any], ...]] = (
    *usage.READS, *rounds.READS, *requests.READS, *forecasts.READS, *ends.READS,
)  # fmt: skip
# The nouns of the API; of a project and a user the settings are shown besides.
COMPONENTS: Final[dict[str, type]] = {
    one.__name__: one
    for one in (
        service.Error, service.Manager, projects.Project, projects.ProjectRule, projects.Effects,
        projects.Removal, projects.User, requests.Request, rounds.Explanation, rounds.Simulation,
        supposed.WhatIf, *(noun for read in READS for noun in read.nouns()), service.Change,
        service.Health, service.Liveness, service.Versions,
    )
}  # fmt: skip

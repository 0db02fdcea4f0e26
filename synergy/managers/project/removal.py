"""Shows in numbers what it means to manage a project no longer, before it is done.

Why: servers lose their end, or end, and Nova's quota of long ago is in force again; anyone who
removes a project has to see how many and which. Must not change anything.
"""

from collections.abc import Mapping

from synergy.core.declared.answers import projects as answers
from synergy.core.model import Project, QuotaKind, Request, Resources, total
from synergy.managers.project.keeping import servers_of
from synergy.managers.support.render import instant_json
from synergy.ports import Reading


def removal_of(uow: Reading, project: Project, servers: str) -> answers.Removal:
    """Return what removing a project would do.

    servers  "keep" or "expire": what becomes of its servers on the shared quota
    """
    waiting = uow.requests.waiting_count(project.project_id)
    private = sum(1 for _ in servers_of(uow, project.project_id, QuotaKind.PRIVATE))
    shared = list(servers_of(uow, project.project_id, QuotaKind.SHARED))
    used = total(one.demand for one in shared)
    ends = [one.expires_at for one in shared if one.expires_at is not None]
    return {
        "id": project.project_id,
        "name": project.name,
        "waiting": waiting,
        "private_servers": private,
        "shared_servers": len(shared),
        "shared_used": dict(used),
        "servers": servers,
        "last_end": instant_json(max(ends, default=None)) if servers == "expire" else None,
        "nova_quota": dict(project.nova_quota),
        "text": ". ".join(_sentences(project, waiting, private, shared, used, servers)) + ".",
    }


def _sentences(
    project: Project,
    waiting: int,
    private: int,
    shared: list[Request],
    used: Resources,
    servers: str,
) -> list[str]:
    parts = []
    if waiting:
        parts.append(
            f"It is refused while {waiting} request(s) wait: cancel them, or let them start"
        )
    if shared:
        fate = (
            "have no end any more, and count against the quota that Nova has"
            if servers == "keep"
            else "are deleted at the end that they have"
        )
        parts.append(f"{len(shared)} server(s) on the shared quota, {_amounts(used)}, {fate}")
    if private:
        parts.append(f"{private} server(s) on the private quota stay as they are")
    back = _amounts(project.nova_quota) or "the cloud's defaults"
    parts.append(
        f"Nova limits the project again, to {back}, instead of {_amounts(project.private)}"
    )
    return parts


def _amounts(amounts: Mapping[str, int | None]) -> str:
    shown = {name: "unlimited" if one is None else str(one) for name, one in amounts.items()}
    return ", ".join(f"{name} {one}" for name, one in sorted(shown.items()))

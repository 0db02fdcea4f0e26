"""Values as JSON, for the answers of commands: one shape a noun, units in the names."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast

from synergy.core.declared import answers
from synergy.core.declared.fields import Setting, as_json
from synergy.core.declared.settings import CLASS_SETTINGS, PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.errors import PreconditionFailed
from synergy.core.fairshare import FairShare
from synergy.core.lifecycle import Step, quotas_open_to
from synergy.core.model import Association, Project, Request, Resources
from synergy.core.shares import ShareTree

NO_FORECAST: Final[answers.forecasts.StartForecast] = {
    "forecast_p50_at": None,
    "forecast_p90_at": None,
    "forecast_text": "",
}


def check_revision(shown: Mapping[str, object], if_match: Sequence[str] | None) -> None:
    """Raise PreconditionFailed unless a thing is still what the caller saw; None matches all."""
    if if_match is not None and shown["revision"] not in if_match:
        raise PreconditionFailed(
            f"it is at revision {shown['revision']}, and not {' or '.join(if_match) or 'any'}: "
            "read it again before you change it"
        )


def instant_json(at: datetime | None) -> str | None:
    """Return ISO 8601, or None."""
    return None if at is None else at.isoformat()


def limit_json(limit: Resources | None) -> dict[str, int] | None:
    """Return a limit by resource class; None is no limit."""
    return None if limit is None else dict(limit)


def quotas_json(request: Request) -> list[str]:
    """Return the quotas that a request may start on, or the one that it claims."""
    return [quota.value for quota in quotas_open_to(request)]


def request_json(
    request: Request, start: answers.forecasts.StartForecast = NO_FORECAST
) -> answers.requests.RequestRow:
    """Return what a person may see of a request; never its body."""
    shown = {
        "id": request.request_id,
        "name": request.server_name,
        "project_id": request.project_id,
        "user_id": request.user_id,
        "state": request.state.value,
        "quota": request.quota.value,
        "quotas": quotas_json(request),
        "flavor": request.flavor,
        "demand": dict(request.demand),
        "qos": request.request_class.qos,
        **as_json(request.request_class, CLASS_SETTINGS),
        "ttl_s": request.ttl_s,
        "batch_id": request.batch_id,
        "class_id": request.class_id,
        "queued_at": instant_json(request.queued_at),
        "active_at": instant_json(request.active_at),
        "expires_at": instant_json(request.expires_at),
        "retry_at": instant_json(request.retry_at),
        "attempts": request.attempts,
        "host": request.host,
        "reason": request.reason.value if request.reason else None,
        "why": request.why,
        "revision": str(request.generation),
        **start,
    }
    # The settings are of a table, which no type can name.
    return cast(answers.requests.RequestRow, shown)


def step_json(step: Step) -> answers.requests.Step:
    """Return one row of the ledger."""
    return {
        "at": step.at.isoformat(),
        "from": step.from_state.value,
        "to": step.to_state.value,
        "event": step.event.value,
        "round_id": step.round_id,
        "why": step.why,
        "reason": step.reason.value if step.reason else None,
    }


def project_json(
    project: Project, settings: Sequence[Setting] = PROJECT_SETTINGS
) -> answers.projects.Project:
    """Return a managed project."""
    shown = {
        "id": project.project_id,
        "name": project.name,
        "domain_id": project.domain_id,
        **as_json(project, settings),
        "handover": project.handover.value,
        "gone": project.gone,
        "managed_by": f"rule: {project.rule}" if project.rule else "hand",
        "revision": str(project.generation),
    }
    return cast(
        answers.projects.Project, shown
    )  # the settings are of a table, which no type can name


def share_json(
    tree: ShareTree,
    computed: FairShare,
    row: int,
    user: str | None,
    *,
    ranked: bool,
    alone: bool,
    why: str,
) -> answers.usage.Share:
    """Return a row of the share tree, as sshare -l shows it; infinity is "inf".

    ranked  only users have a factor, as in Fair Tree
    alone   it is shown without others, so its rank is left out
    """
    level_fs = float(computed.level_fs[row])
    parent = int(tree.parent[row])
    inherits = bool(tree.inherits[row])
    return {
        "id": tree.node_ids[row],
        "parent": tree.node_ids[parent] if parent >= 0 else None,
        "user": user,
        "raw_shares": raw_shares_json(None if inherits else int(tree.raw_shares[row])),
        "norm_shares": None if inherits else float(computed.norm_shares[row]),
        "raw_usage": float(computed.raw_usage[row]),
        "norm_usage": float(computed.norm_usage[row]),
        "effective_usage": float(computed.effective_usage[row]),
        "level_fs": None if inherits else "inf" if math.isinf(level_fs) else level_fs,
        "rank": None if alone else int(computed.rank[row]) or None,
        "fairshare": None if ranked and not tree.is_user[row] else float(computed.fairshare[row]),
        "why": why,
    }


def raw_shares_json(raw_shares: int | None) -> int | str:
    """Return raw shares as a person writes them."""
    return "parent" if raw_shares is None else raw_shares


def user_json(
    association: Association, settings: Sequence[Setting] = USER_SETTINGS
) -> answers.projects.User:
    """Return a user of a project with his shares."""
    shown = {
        "user_id": association.user_id,
        "name": association.user_name,
        **as_json(association, settings),
        "active": association.active,
    }
    revision = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    return cast(answers.projects.User, {**shown, "revision": revision})

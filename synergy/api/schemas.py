"""The nouns of the API as JSON Schema: what every answer looks like, and what may be set.

Why: clients are written against these, so they are checked against every answer in the tests. A
null says that something does not apply, or is not the caller's to know.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from synergy.api.routing import INSTANT, TEXT, Schema, object_of
from synergy.api.visibility import foreign_text, operators_only
from synergy.core.audit import AuditOutcome
from synergy.core.declared.fields import Setting, shown_schemas_of
from synergy.core.declared.kinds import RESOURCE_CLASS_PATTERN, Amounts, Shares, or_null
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.lifecycle import Event
from synergy.core.model import Handover, QuotaKind, State
from synergy.core.reasons import Reason

STRING: Final = {"type": "string"}
NUMBER: Final = {"type": "number"}
COUNT: Final = {"type": "integer", "minimum": 0}
BOOLEAN: Final = {"type": "boolean"}
AMOUNTS: Final = Amounts().shown_schema()
HOURS: Final = {
    "type": "object",
    "patternProperties": {RESOURCE_CLASS_PATTERN: NUMBER},
    "additionalProperties": False,
}
SHARES: Final = Shares().schema()


def _words(kinds: Any) -> dict[str, Any]:
    return {"type": "string", "enum": [one.value for one in kinds]}


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def means(text: str) -> dict[str, Any]:
    """Return what says what a thing is."""
    return {"description": text}


def wrapped(**parts: Schema) -> dict[str, Any]:
    """Return the schema of an object with just these properties, all of them there."""
    return object_of(parts, list(parts))


def listed(plural: str, name: str, **more: Schema) -> dict[str, Any]:
    """Return the schema of a page of a list."""
    items = {"type": "array", "items": ref(name)}
    return wrapped(**{plural: items, "next": or_null(STRING), **more})


def _shown(settings: Sequence[Setting]) -> dict[str, Schema]:
    """Return the schemas of settings as answers show them; what only operators see is marked."""
    schemas = shown_schemas_of(settings)
    hidden = {one.name for one in settings if one.operators_only}
    return {
        name: operators_only(or_null(schema)) if name in hidden else schema
        for name, schema in schemas.items()
    }


def project_schema(settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the schema of a project that has these settings; some answers show more of it."""
    always: dict[str, Schema] = {
        "id": STRING, "name": STRING, "domain_id": STRING, **_shown(settings),
        "handover": _words(Handover), "gone": BOOLEAN, "revision": STRING,
    }  # fmt: skip
    users = {"type": "array", "items": ref("User")}
    return object_of({**always, "users": users, "effects": ref("Effects")}, list(always))


def user_schema(settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the schema of a user of a project who has these settings."""
    return wrapped(user_id=STRING, name=STRING, **_shown(settings), active=BOOLEAN, revision=STRING)


_ROUND: Final[dict[str, Schema]] = {
    "round_id": or_null(STRING),
    "round_at": or_null(INSTANT),
    "age_s": or_null(NUMBER),
}
_TERMS: Final = wrapped(
    age=NUMBER, association=NUMBER, fairshare=NUMBER, size=NUMBER, partition=NUMBER, qos=NUMBER,
    tres=HOURS, site=NUMBER, nice=NUMBER, priority={"type": "integer"},
)  # fmt: skip
_BOUND: Final = wrapped(
    scope={"type": "string", "enum": ["shared_quota", "borrow_limit", "private_quota"]},
    node=STRING, resource_class=STRING, needed={"type": "integer"}, free={"type": "integer"},
    limit={"type": "integer"}, used={"type": "integer"}, own={"type": "integer"},
)  # fmt: skip
_REQUEST: Final[dict[str, Schema]] = {
    "id": STRING, "name": STRING, "project_id": STRING, "user_id": STRING,
    "state": _words(State), "quota": _words(QuotaKind), "flavor": STRING, "demand": AMOUNTS,
    "qos": STRING, "nice": {"type": "integer"}, "ttl_s": COUNT, "batch_id": or_null(STRING),
    "class_id": {"type": "integer"}, "queued_at": or_null(INSTANT), "active_at": or_null(INSTANT),
    "expires_at": or_null(INSTANT), "retry_at": or_null(INSTANT), "attempts": COUNT,
    "host": operators_only(or_null(STRING)), "why": foreign_text(STRING), "revision": STRING,
    "reason": or_null(_words(Reason)),
}  # fmt: skip
_STEP: Final[dict[str, Schema]] = {
    "at": INSTANT, "from": _words(State), "to": _words(State), "event": _words(Event),
    "round_id": or_null(STRING), "why": foreign_text(STRING),
}  # fmt: skip
_MANAGER: Final[dict[str, Schema]] = {
    "name": STRING,
    "status": {
        "type": "string",
        "enum": ["CREATED", "STOPPED", "RUNNING", "DEGRADED", "STALLED", "ERROR", "DESTROYED"],
    },
    "runs": COUNT, "failures": COUNT, "last_run_at": or_null(INSTANT),
    "last_duration_s": or_null(NUMBER), "next_run_at": or_null(INSTANT), "last_error": STRING,
    "needed": BOOLEAN, "autostart": BOOLEAN, "stopped_means": STRING, "hindrance": STRING,
    "lag_s": NUMBER, "running_s": or_null(NUMBER), "unable_s": NUMBER, "stall_s": NUMBER,
    "commands": {
        "type": "array",
        "items": wrapped(
            name=STRING, help=STRING, arguments={"type": "object"}, changes=BOOLEAN
        ),
    },
}  # fmt: skip

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Error": wrapped(
        errors={
            "type": "array",
            "minItems": 1,
            "items": wrapped(status={"type": "integer"}, code=STRING, detail=STRING),
        }
    ) | means("Why the API refused a call, or could not answer it."),
    "Manager": object_of(_MANAGER, list(_MANAGER))
    | means("A manager with its status and commands."),
    "Project": project_schema(PROJECT_SETTINGS)
    | means("A managed project; `users` only when it is shown alone, `effects` after a dry run."),
    "Effects": wrapped(
        shared_before=AMOUNTS, shared_after=AMOUNTS, shortfall=AMOUNTS, would_wait=COUNT,
        unknown=AMOUNTS, text=STRING,
    ) | means("What a change of quotas does to the shared quota."),
    "User": user_schema(USER_SETTINGS) | means("A user of a project."),
    "Request": object_of(
        {**_REQUEST, "history": {"type": "array", "items": wrapped(**_STEP)}}, list(_REQUEST)
    ) | means("A server that Synergy holds or held; `history` only when it is shown alone."),
    "Explanation": wrapped(
        id=STRING, state=_words(State), reason=or_null(_words(Reason)), text=STRING,
        bounds={"type": "array", "items": _BOUND}, position=or_null(COUNT),
        priority=or_null(_TERMS),
        unblocked_by=or_null(
            wrapped(
                releases={
                    "type": "array",
                    "items": wrapped(at=INSTANT, freed=AMOUNTS, servers=COUNT),
                },
                enough_at=or_null(INSTANT),
                estimated_start=or_null(INSTANT),
                smaller_flavors={
                    "type": "array", "items": wrapped(name=STRING, demand=AMOUNTS)
                },
            )
        ),
        **_ROUND,
    ) | means("Why a request waits; what the numbers mean is in the documentation."),
    "Simulation": wrapped(
        count=COUNT, quota=_words(QuotaKind), demand=AMOUNTS, starts_now=COUNT,
        reason=or_null(_words(Reason)), text=STRING, bounds={"type": "array", "items": _BOUND},
        estimated_first_start=or_null(INSTANT), estimated_last_start=or_null(INSTANT), **_ROUND,
    ) | means("What would become of servers that were asked for now."),
    "Quota": wrapped(
        total=operators_only(or_null(AMOUNTS)), private_unmanaged=operators_only(or_null(AMOUNTS)),
        shared=AMOUNTS, shortfall=operators_only(or_null(AMOUNTS)),
        lent=operators_only(or_null(AMOUNTS)), shared_used=operators_only(or_null(AMOUNTS)),
        shared_free=AMOUNTS,
        shortfall_causes=operators_only(
            {
                "type": ["object", "null"],
                "additionalProperties": {"type": "array", "items": STRING},
            }
        ),
        warnings=operators_only({"type": ["array", "null"], "items": STRING}),
        projects={
            "type": "array",
            "items": wrapped(
                id=STRING, name=STRING, private=AMOUNTS, private_used=AMOUNTS, shared_used=AMOUNTS,
                max_private_servers=or_null(COUNT), private_servers=COUNT,
                borrow_limit=or_null(AMOUNTS), lend_limit=or_null(AMOUNTS),
            ),
        },
    ) | means("The shared quota, and who owns and holds what; null is an administrator's to know."),
    "Expiry": wrapped(
        suspended=BOOLEAN,
        reason=or_null({"type": "string", "enum": ["clock", "most_per_pass"]}),
        text=STRING, since=or_null(INSTANT), due=COUNT, due_on_resume=COUNT, expiring=COUNT,
        next_end=or_null(INSTANT), most_per_pass=COUNT,
        clock=wrapped(trusted=BOOLEAN, wall=INSTANT, now=INSTANT, off_s=NUMBER),
        refused={"type": "array", "items": wrapped(id=STRING, why=STRING, next_try_at=INSTANT)},
    ) | means("Whether servers are ended when their lifetimes are over, or why not."),
    "Share": wrapped(
        id=STRING, parent=or_null(STRING), user=or_null(STRING), raw_shares=SHARES,
        norm_shares=or_null(NUMBER), raw_usage=NUMBER, norm_usage=NUMBER, effective_usage=NUMBER,
        level_fs={"anyOf": [NUMBER, {"const": "inf", "type": "string"}, {"type": "null"}]},
        rank=or_null(COUNT), fairshare=or_null(NUMBER), why=STRING,
    ) | means("A row of the share tree."),
    "Priority": wrapped(
        id=STRING, name=STRING, project_id=STRING, user_id=STRING, quota=_words(QuotaKind),
        priority=or_null(_TERMS),
    ) | means("A queued request with the weighted terms of its priority."),
    "Usage": wrapped(
        begin=INSTANT, end=INSTANT, project_id=or_null(STRING), project=or_null(STRING),
        user_id=or_null(STRING), user=or_null(STRING), quota=or_null(_words(QuotaKind)),
        servers=COUNT, resource_hours=HOURS, billed_hours=NUMBER,
        promised_share=operators_only(or_null(NUMBER)),
        delivered_share=operators_only(or_null(NUMBER)),
    ) | means("What somebody used in a time."),
    "Event": wrapped(number=COUNT, project_id=STRING, request_id=STRING, **_STEP)
    | means("Something that happened to a request."),
    "Change": wrapped(
        number=COUNT, at=INSTANT, request_id=STRING, user_id=or_null(STRING),
        user_name=or_null(STRING), project_id=or_null(STRING),
        roles={"type": "array", "items": STRING}, address=STRING, operation=STRING, target=STRING,
        asked={"type": "object"}, before={"type": ["object", "null"]},
        after={"type": ["object", "null"]}, outcome=_words(AuditOutcome),
        status=or_null({"type": "integer"}), why=STRING,
    ) | means("A change that somebody asked for through the API, and what became of it."),
    "Round": wrapped(
        waiting=or_null(COUNT), classes=COUNT, round_id=or_null(STRING), round_at=or_null(INSTANT),
        rounds=COUNT, dispatched=COUNT, conflicts=COUNT, unknown=COUNT, changes_passed=COUNT,
        changes_refused=COUNT, site_factor_errors={"type": "object"},
        reasons={"type": "object", "additionalProperties": COUNT},
    ) | means("The last round and its counters."),
    "Health": wrapped(
        live=BOOLEAN, ready=BOOLEAN, healthy=BOOLEAN,
        why={"type": "array", "items": STRING},
        managers={"type": "object", "additionalProperties": STRING},
    ) | means("Whether the service is live, ready and healthy, and why not."),
    "Liveness": wrapped(live=BOOLEAN) | means("That the service lives."),
    "Versions": wrapped(
        versions={
            "type": "array",
            "items": wrapped(
                id=STRING, status=STRING, version=STRING,
                links={"type": "array", "items": wrapped(rel=STRING, href=STRING)},
            ),
        }
    ) | means("The versions of the API."),
}  # fmt: skip
NAME: Final = TEXT

"""The options of a request, within the limits of its project; and when a failed hand-over is
retried.

Must not know messages or tables. An invalid option is an error that the user reads, never silently
ignored.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from synergy.core.backoff import Backoff
from synergy.core.declared.kinds import Number
from synergy.core.declared.settings import CLASS_SETTINGS
from synergy.core.errors import InvalidInput
from synergy.core.model import (
    PARTITION,
    Constraints,
    DefaultQuota,
    OnPrivateFull,
    Project,
    QuotaKind,
    RequestClass,
    Resources,
)

QUOTA_KEY: Final = "quota"
QUOTA_SPEC: Final = "synergy:quota"
PREEMPTABLE_SPEC: Final = "lifecycle:preemptable"  # as Watcher reads it
PARTITION_SPEC: Final = "synergy:partition"
TTL_KEY: Final = "synergy:ttl_s"
QOS_KEY: Final = "synergy:qos"
_CLASS_KEY: Final = "synergy:{}"  # of the settings of a class

HAND_OVER: Final = Backoff(initial_s=60.0, max_s=3600.0, tries=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """The options of a request after its project's limits are applied."""

    quota: QuotaKind
    on_private_full: OnPrivateFull
    ttl_s: int
    qos: str = "normal"
    settings: Mapping[str, Any] = field(default_factory=dict)  # of its class
    partition: str = ""


def request_options(
    project: Project,
    *,
    metadata: Mapping[str, str],
    extra_specs: Mapping[str, str],
    user_data_quota: str | None,
    qos_names: Collection[str],
) -> RequestOptions:
    """Return the quota, lifetime, QOS and class settings of a request.

    The quota is named by metadata, else by the flavor's extra spec, else by a line of user-data,
    else by the project's default.
    A flavor whose servers may be preempted names the shared one. A lifetime can only be shorter
    than the project's.
    Raises InvalidInput naming the key, the value and what is allowed.
    """
    quota, on_private_full = _quota(
        project, metadata.get(QUOTA_KEY) or _flavors_quota(extra_specs) or user_data_quota
    )
    ttl_s = _integer(metadata, TTL_KEY, project.ttl_s, lowest=1, highest=2**31 - 1)
    qos = metadata.get(QOS_KEY, "normal")
    if qos not in qos_names:
        allowed = ", ".join(sorted(qos_names))
        raise InvalidInput(f"{QOS_KEY} is {qos!r}, but must be one of {allowed}")
    return RequestOptions(
        quota=quota,
        on_private_full=on_private_full,
        ttl_s=min(ttl_s, project.ttl_s),
        qos=qos,
        settings=_class_settings(metadata),
        partition=extra_specs.get(PARTITION_SPEC, ""),
    )


def class_of(
    options: RequestOptions, association_id: int, demand: Resources, constraints: Constraints
) -> RequestClass:
    """Return the class of a request; a requested partition is appended to its constraints."""
    partition = ((PARTITION, options.partition),) if options.partition else ()
    return RequestClass(
        association_id=association_id,
        demand=demand,
        quota=options.quota,
        on_private_full=options.on_private_full,
        qos=options.qos,
        ttl_s=options.ttl_s,
        constraints=(*constraints, *partition),
        **options.settings,
    )


def _quota(project: Project, named: str | None) -> tuple[QuotaKind, OnPrivateFull]:
    if named is None:
        if project.default_quota is DefaultQuota.SHARED:
            return QuotaKind.SHARED, OnPrivateFull.QUEUE
        if project.default_quota is DefaultQuota.PRIVATE_THEN_SHARED:
            return QuotaKind.PRIVATE, OnPrivateFull.SHARED
        return QuotaKind.PRIVATE, project.on_private_full
    try:
        quota = QuotaKind(named)
    except ValueError as error:
        raise InvalidInput(
            f"{QUOTA_KEY} is {named!r}, but must be one of private, shared"
        ) from error
    return quota, _when_private_is_full(quota, project)


def _flavors_quota(extra_specs: Mapping[str, str]) -> str | None:
    named = extra_specs.get(QUOTA_SPEC)
    preemptable = extra_specs.get(PREEMPTABLE_SPEC, "false").strip().lower()
    if preemptable not in ("true", "false"):
        raise InvalidInput(
            f"{PREEMPTABLE_SPEC} of the flavor is {preemptable[:40]!r}, but must be true or false"
        )
    return named or (QuotaKind.SHARED.value if preemptable == "true" else None)


def _when_private_is_full(quota: QuotaKind, project: Project) -> OnPrivateFull:
    """Return QUEUE for a request that names the shared quota: SHARED would mean that it may use
    either quota."""
    return project.on_private_full if quota is QuotaKind.PRIVATE else OnPrivateFull.QUEUE


def _class_settings(metadata: Mapping[str, str]) -> dict[str, int]:
    """Return the settings of a class that the metadata asks for."""
    asked = {_CLASS_KEY.format(one.name): one for one in CLASS_SETTINGS}
    return {
        one.name: _integer(metadata, key, 0, lowest=one.kind.minimum, highest=one.kind.maximum)
        for key, one in asked.items()
        if key in metadata and isinstance(one.kind, Number)
    }


def _integer(
    metadata: Mapping[str, str], key: str, default: int, *, lowest: int, highest: int
) -> int:
    text = metadata.get(key)
    if text is None:
        return default
    plain = text.isascii() and text.isdigit() and len(text) <= len(str(highest))
    if not plain or not lowest <= int(text) <= highest:
        raise InvalidInput(
            f"{key} is {text[:40]!r}, but must be a whole number from {lowest} to {highest}"
        )
    return int(text)


def retry_delay_s(attempts: int) -> float | None:
    """Return how long to wait after the n-th failed hand-over, None to give up."""
    return None if HAND_OVER.gives_up(attempts) else HAND_OVER.delay_s(attempts)

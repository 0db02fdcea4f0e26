"""Explains a shortfall: who owns the cloud, and which change made the guarantees exceed it.

Why: "by VCPU=2" does not tell an operator whom to contact. Two passes of the quota manager are
compared, and each change is listed with its old and new values. Must not know the account tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from synergy.core.model import NOTHING, Resources, total
from synergy.core.quota import Owner, SharedSize, shared_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The cloud's capacity, and what each project owns of it.

    capacity  of the hosts that are up, by the name of the host
    owners    every project that owns or uses anything, by its id
    """

    capacity: Mapping[str, Resources] = field(default_factory=dict)
    owners: Mapping[str, Owner] = field(default_factory=dict)

    def size(self) -> SharedSize:
        """Return what nobody owns, and the shortfall."""
        return shared_size(
            total(self.capacity.values()), (owner.guaranteed for owner in self.owners.values())
        )

    def below_use(self) -> list[str]:
        """Return a sentence for each private quota that is below its project's usage."""
        return [
            f"project {owner.name} uses {used:,} {name}, and its private quota is "
            f"{owner.private.get(name, 0):,}: it counts with what it uses"
            for owner in sorted(self.owners.values(), key=lambda owner: owner.name)
            for name, used in owner.used.items()
            if name not in owner.unlimited and used > owner.private.get(name, 0)
        ]

    def without_limit(self, resource_class: str) -> list[str]:
        """Return the names of projects without a limit in a resource class."""
        return sorted(o.name for o in self.owners.values() if resource_class in o.unlimited)


def causes(before: Balance | None, after: Balance, resource_class: str) -> list[str]:
    """Return a sentence for each change that reduced what nobody owns of a class, largest first.

    Without an earlier pass to compare with, they list everyone who owns anything of the class.
    """
    if before is None:
        return _owners_of(after, resource_class)
    found: list[tuple[int, str]] = []
    for name in {*before.capacity, *after.capacity}:
        had = before.capacity.get(name, NOTHING).get(resource_class, 0)
        has = after.capacity.get(name, NOTHING).get(resource_class, 0)
        gone = "is down or gone" if name not in after.capacity else "has less"
        found.append((had - has, f"host {name} {gone}: {resource_class} {had:,} -> {has:,}"))
    for project_id in {*before.owners, *after.owners}:
        was = before.owners.get(project_id)
        now = after.owners.get(project_id)
        more = _guaranteed(now, resource_class) - _guaranteed(was, resource_class)
        if more > 0 and now is not None:
            found.append((more, f"project {now.name}: {_change(was, now, resource_class)}"))
    return [text for lost, text in sorted(found, reverse=True) if lost > 0]


def _owners_of(balance: Balance, resource_class: str) -> list[str]:
    owners = sorted(
        ((_guaranteed(owner, resource_class), owner.name) for owner in balance.owners.values()),
        reverse=True,
    )
    return [f"project {name}: {resource_class} {amount:,}" for amount, name in owners if amount]


def _guaranteed(owner: Owner | None, resource_class: str) -> int:
    return int(owner.guaranteed.get(resource_class, 0)) if owner is not None else 0


def _change(was: Owner | None, now: Owner, resource_class: str) -> str:
    quota = was.private.get(resource_class, 0) if was is not None else 0
    used = was.used.get(resource_class, 0) if was is not None else 0
    parts = []
    if now.private.get(resource_class, 0) != quota:
        amount = now.private.get(resource_class, 0)
        parts.append(f"private quota {resource_class} {quota:,} -> {amount:,}")
    if now.used.get(resource_class, 0) != used:
        parts.append(f"use {resource_class} {used:,} -> {now.used.get(resource_class, 0):,}")
    return ", ".join(parts)

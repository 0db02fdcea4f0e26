"""Placement: the capacity of hosts, the usage of projects, and which hosts have room for a server.

Nova decides which hosts count: those that are up, enabled, and in the configured aggregates. Must
not know quotas.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from openstack.exceptions import raise_from_response

from synergy.core.errors import ConfigurationInvalid, InvalidInput, NotFound
from synergy.core.model import AVAILABILITY_ZONE, TRAIT, Constraints, Resources, total, zone_in
from synergy.drivers.openstack.nova_client import pages
from synergy.drivers.openstack.session import translated_errors
from synergy.ports import Host

PLACEMENT: Final = "Placement"
AGGREGATES_KEPT_S: Final = 20.0
_AT_ONCE: Final = 4
_UNKNOWN: Final = "No such"  # begins Placement's error for an unknown trait or resource class
_MAX_CANDIDATES: Final = 1000


class Placement:
    """Capacity and usage."""

    def __init__(self, cloud: Any, nova: Any, aggregates: Sequence[str] = ()) -> None:
        """nova: python-novaclient. aggregates: names of Nova's host aggregates; without any, every
        host counts."""
        self._cloud, self._nova, self._aggregates = cloud, nova, tuple(aggregates)
        self._listed: tuple[float, Sequence[object]] = (
            float("-inf"),
            (),
        )  # (read at, monotonic; aggregates)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="placement")

    def hosts(self) -> Sequence[Host]:
        """Return every compute host, whether up or not; a disabled one counts as not up."""
        chosen = self._chosen_hosts()
        with translated_errors("Nova"):
            hypervisors = [one for page in pages(self._nova.hypervisors.list) for one in page]
        with translated_errors(PLACEMENT):
            providers = list(self._cloud.placement.resource_providers())
        parts: dict[str, list[str]] = {}  # root provider -> itself and its nested providers
        for one in providers:
            parts.setdefault(one.root_provider_id or one.id, []).append(one.id)
        capacities = dict(
            zip(
                (one.id for one in providers),
                self._pool.map(self._capacity, (one.id for one in providers)),
                strict=True,
            )
        )
        return [
            Host(
                name=host,
                capacity=total(capacities[part] for part in parts.get(one.id, ())),
                up=one.state == "up" and one.status == "enabled",
            )
            for one in hypervisors
            if (host := one.service["host"]) in chosen or not self._aggregates
        ]

    def _chosen_hosts(self) -> set[str]:
        return {host for one in self._found_aggregates() for host in one.hosts or ()}

    def _found_aggregates(self) -> list[Any]:
        if not self._aggregates:
            return []
        found = {one.name: one for one in self._listed_aggregates()}
        missing = [name for name in self._aggregates if name not in found]
        if missing:
            raise ConfigurationInvalid(
                [f"[openstack] aggregates: Nova has no {name!r}" for name in missing]
            )
        return [found[name] for name in self._aggregates]

    def _aggregates_of_zone(self, zone: str) -> list[object]:
        """Return the aggregates that make up a zone; none for the default zone, which Nova does not
        restrict to aggregates either."""
        return [
            one
            for one in self._listed_aggregates()
            if (one.metadata or {}).get(AVAILABILITY_ZONE) == zone
        ]

    def _listed_aggregates(self) -> Sequence[Any]:
        """Return Nova's aggregates, cached for AGGREGATES_KEPT_S, as every round needs them."""
        read_s, listed = self._listed
        if time.monotonic() - read_s > AGGREGATES_KEPT_S:
            with translated_errors("Nova"):
                listed = list(self._nova.aggregates.list())
            self._listed = time.monotonic(), listed
        return listed

    def _capacity(self, provider_id: str) -> Resources:
        """Return (total - reserved) x allocation_ratio by resource class."""
        try:
            with translated_errors(PLACEMENT):
                answer = self._get(f"/resource_providers/{provider_id}/inventories")
                return Resources.of({
                    name: int((one["total"] - one["reserved"]) * one["allocation_ratio"])
                    for name, one in answer["inventories"].items()
                })  # fmt: skip
        except NotFound:
            return Resources()  # deleted since it was listed

    def room_for(self, demand: Resources, constraints: Constraints = ()) -> Mapping[str, Resources]:
        """Query allocation candidates, without disabled hosts; the keys are provider ids."""
        query = [
            ("resources", ",".join(f"{name}:{amount}" for name, amount in demand.items())),
            ("required", ",".join(["!COMPUTE_STATUS_DISABLED", *_traits(constraints)])),
            ("limit", str(_MAX_CANDIDATES)),
        ]
        groups = [self._found_aggregates()] if self._aggregates else []
        zone = zone_in(constraints)
        if zone is not None:
            groups.append(self._aggregates_of_zone(zone))
        query += [
            ("member_of", f"in:{','.join(a.uuid for a in group)}") for group in groups if group
        ]
        try:
            with translated_errors(PLACEMENT):
                return _free(self._get("/allocation_candidates", query))
        except InvalidInput as error:
            if _UNKNOWN in str(error):
                return {}  # an unknown trait or resource class: no host has it
            raise

    def placed(self, server_ids: Sequence[str]) -> set[str]:
        """Return those of the servers that hold an allocation."""

        def holds(server_id: str) -> bool:
            with translated_errors(PLACEMENT):
                return bool(self._get(f"/allocations/{server_id}")["allocations"])

        found = self._pool.map(holds, server_ids)
        return {one for one, held in zip(server_ids, found, strict=True) if held}

    def used_by(self, project_id: str) -> Resources:
        """Return what a project's servers use."""
        with translated_errors(PLACEMENT):
            return Resources.of(self._get("/usages", [("project_id", project_id)])["usages"])

    def _get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        answer = self._cloud.placement.get(path, params=list(query))
        raise_from_response(answer)
        return answer.json()


def _traits(constraints: Constraints) -> list[str]:
    return [
        ("!" if value == "forbidden" else "") + name.removeprefix(TRAIT)
        for name, value in constraints
        if name.startswith(TRAIT)
    ]


def _free(candidates: Mapping[str, Any]) -> dict[str, Resources]:
    """Return what is free on each root provider, including its nested providers."""
    free: dict[str, Resources] = {}
    for provider_id, one in candidates["provider_summaries"].items():
        root = one.get("root_provider_uuid") or provider_id
        left = {n: r["capacity"] - r["used"] for n, r in one["resources"].items()}
        free[root] = free.get(root, Resources()) + Resources.of(left)
    return free

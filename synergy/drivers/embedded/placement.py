"""The embedded cloud's Placement: the hosts' capacity, and the servers' allocations.

Must not know servers' states or users. The caller must hold the cloud's lock.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from synergy.core.errors import NotFound
from synergy.core.model import Constraints, Resources
from synergy.drivers.embedded.spec import DEFAULT_ZONE, HostSpec
from synergy.ports import Host


class EmbeddedPlacement:
    """Capacity and allocations by host."""

    def __init__(self, hosts: Collection[HostSpec]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._capacity = {host.name: host.capacity() for host in hosts}
        self._free = dict(self._capacity)
        self._down: set[str] = set()
        self._allocations: dict[str, tuple[str, Resources]] = {}

    def __contains__(self, host: str) -> bool:
        return host in self._capacity

    def hosts(self) -> list[Host]:
        """Return every compute host, up or not."""
        return [
            Host(name=name, capacity=capacity, up=name not in self._down)
            for name, capacity in self._capacity.items()
        ]

    def zones(self) -> frozenset[str]:
        """Return the zones that hosts are in."""
        return frozenset(host.availability_zone or DEFAULT_ZONE for host in self._hosts.values())

    def set_zone(self, host: str, zone: str | None) -> None:
        """Move a host to another zone."""
        self._hosts[host] = replace(self._hosts[host], availability_zone=zone)

    def used_on(self, host: str) -> Resources:
        """Return what is used on a host."""
        return self._capacity[host] - self._free[host]

    def set_up(self, host: str, up: bool) -> None:
        """Set whether a host is up. Raises NotFound."""
        if host not in self._capacity:
            raise NotFound(f"host {host!r} does not exist")
        (self._down.discard if up else self._down.add)(host)

    def room_for(self, demand: Resources, constraints: Constraints) -> dict[str, Resources]:
        """Return the hosts with room for a demand now, and what is free on each."""
        return {
            name: free
            for name, free in self._free.items()
            if name not in self._down
            and demand.fits_in(free)
            and self._hosts[name].satisfies(constraints)
        }

    def best_host(self, demand: Resources, constraints: Constraints = ()) -> str | None:
        """Return the host with the most free VCPU among those with room; ties go by name."""
        room = self.room_for(demand, constraints)
        return max(room, key=lambda name: (room[name].get("VCPU", 0), name), default=None)

    def allocate(self, server_id: str, host: str, demand: Resources) -> None:
        """Allocate a demand on a host to a server, in place of its allocation before."""
        self.release(server_id)
        self._allocations[server_id] = (host, demand)
        self._free[host] -= demand

    def release(self, server_id: str) -> None:
        """Release a server's allocation, if it has one."""
        held = self._allocations.pop(server_id, None)
        if held is not None:
            self._free[held[0]] += held[1]

    def placed(self, server_ids: Collection[str]) -> set[str]:
        """Return those of the servers that hold an allocation."""
        return {one for one in server_ids if one in self._allocations}

    def host_of(self, server_id: str) -> str:
        """Return the host that a server holds an allocation on."""
        return self._allocations[server_id][0]

    def held(self) -> Iterator[tuple[str, Resources]]:
        """Yield (server_id, demand) of all allocations."""
        for server_id, (_, demand) in self._allocations.items():
            yield server_id, demand

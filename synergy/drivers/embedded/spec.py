"""The description of an embedded cloud: hosts, flavors and projects, read from a YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import yaml

from synergy.core.errors import InvalidInput
from synergy.core.model import AVAILABILITY_ZONE, TRAIT, Constraints, Resources
from synergy.drivers.nova_message import demand_of

DEFAULT_ZONE: Final = "nova"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """A compute host: its inventory and reserved amounts by resource class.

    availability_zone  None means DEFAULT_ZONE
    """

    name: str
    inventory: Resources
    reserved: Resources = Resources()
    allocation_ratio: Mapping[str, float] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    availability_zone: str | None = None

    def satisfies(self, constraints: Constraints) -> bool:
        """Return whether the host meets all constraints of a request."""
        return all(self._satisfies(name, value) for name, value in constraints)

    def _satisfies(self, name: str, value: str) -> bool:
        if name == AVAILABILITY_ZONE:
            return value == (self.availability_zone or DEFAULT_ZONE)
        if not name.startswith(TRAIT):
            return True  # a server group: the embedded cloud ignores its policy
        return (name.removeprefix(TRAIT) in self.traits) == (value == "required")

    def capacity(self) -> Resources:
        """Return (total - reserved) x allocation_ratio by resource class."""
        return Resources.of(
            {
                name: int(
                    (amount - self.reserved.get(name, 0)) * self.allocation_ratio.get(name, 1)
                )
                for name, amount in self.inventory.items()
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorSpec:
    """A flavor as Nova knows it."""

    name: str
    vcpus: int
    memory_mb: int
    root_gb: int = 0
    ephemeral_gb: int = 0
    swap: int = 0
    extra_specs: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def demand(self) -> Resources:
        """Return what a server of this flavor asks for."""
        return demand_of(self.as_dict(), self.extra_specs, boots_from_volume=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSpec:
    """A project with its domain, users and Nova quota; None is unlimited."""

    project_id: str
    name: str
    users: Mapping[str, str]  # id -> name
    domain_id: str = "default"
    domain_name: str = "Default"
    parent_id: str | None = None
    tags: tuple[str, ...] = ()
    quota: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSpec:
    """A whole cloud.

    boot_s           seconds from the hand-over until a server is ACTIVE
    token_ttl_s      lifetime of user tokens, seconds
    service_tokens   Nova sends a service token along, so that expired user tokens still work
    """

    hosts: tuple[HostSpec, ...]
    flavors: tuple[FlavorSpec, ...]
    projects: tuple[ProjectSpec, ...]
    boot_s: float = 5.0
    token_ttl_s: float = 3600.0
    service_tokens: bool = False


def read_spec(path: Path) -> CloudSpec:
    """Read a cloud from YAML. Raises InvalidInput naming the file and what is wrong."""
    try:
        found = yaml.safe_load(path.read_text())
        return _cloud(found)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {error}") from error
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{path} does not describe a cloud: {error!r}") from error


def _cloud(found: Mapping[str, Any]) -> CloudSpec:
    hosts = []
    for entry in found["hosts"]:
        count = entry.get("count", 1)
        for number in range(1, count + 1):
            hosts.append(
                HostSpec(
                    name=entry["name"] if count == 1 else f"{entry['name']}{number}",
                    inventory=Resources.demand(entry["inventory"], of=f"host {entry['name']}"),
                    reserved=Resources.demand(entry.get("reserved", {})),
                    allocation_ratio=entry.get("allocation_ratio", {}),
                    traits=frozenset(entry.get("traits", ())),
                    availability_zone=entry.get("availability_zone"),
                )
            )
    settings = ("boot_s", "token_ttl_s", "service_tokens")
    return CloudSpec(
        hosts=tuple(hosts),
        flavors=tuple(FlavorSpec(**entry) for entry in found["flavors"]),
        projects=tuple(ProjectSpec(**entry) for entry in found["projects"]),
        **{name: found[name] for name in settings if name in found},
    )

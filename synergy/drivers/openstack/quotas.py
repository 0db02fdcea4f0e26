"""Nova's limits of a project, for both quota drivers.

Why: while a project is managed its limit in Nova is lifted, and afterwards it must be exactly what
it was. So a record holds only the limits that were set explicitly, under the quota driver's names;
a limit that follows a default is not in it. Must not know what Synergy grants.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from synergy.core.errors import ConfigurationInvalid, InvalidInput, NotFound
from synergy.drivers.openstack.session import translated_errors
from synergy.ports import Limits

UNLIMITED: Final = -1
NOVA: Final = "Nova"
KEYSTONE: Final = "Keystone"
# What Nova answers, with 400, for a project that Keystone does not have.
_NO_SUCH_PROJECT: Final = "is not a valid project"


class QuotaDriver(Protocol):
    """See `ports.Compute`: the methods of the same names."""

    def quota(self, project_id: str) -> Limits:
        """Return the effective limits by resource class."""

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have."""

    def limited_classes(self) -> frozenset[str]:
        """Return the resource classes that have limits."""

    def quota_record(self, project_id: str) -> Limits:
        """Return the limits set explicitly for the project."""

    def lift_quota(self, project_id: str) -> None:
        """Set every class to unlimited."""

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Restore a record."""


def _limit(value: int) -> int | None:
    return None if value == UNLIMITED else value


def _number(limit: int | None) -> int:
    return UNLIMITED if limit is None else limit


@contextmanager
def _about_a_project() -> Iterator[None]:
    """Translate the errors of Nova, and its 400 for a project that is gone into NotFound."""
    try:
        with translated_errors(NOVA):
            yield
    except InvalidInput as error:
        if _NO_SUCH_PROJECT in str(error):
            raise NotFound(str(error)) from error
        raise


class QuotaSets:
    """os-quota-sets: the limits of nova.quota.DbQuotaDriver."""

    classes: Final = {"cores": "VCPU", "ram": "MEMORY_MB"}
    lifted: Final = ("cores", "ram", "instances")

    def __init__(self, nova: Any) -> None:
        """nova: python-novaclient."""
        self._nova = nova

    def quota(self, project_id: str) -> Limits:
        """Return the effective limits by resource class."""
        with _about_a_project():
            found = self._nova.quotas.get(project_id).to_dict()
            return {ours: _limit(int(found[name])) for name, ours in self.classes.items()}

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have."""
        with _about_a_project():
            return _limit(int(self._nova.quotas.get(project_id).instances))

    def limited_classes(self) -> frozenset[str]:
        """Return the resource classes that have limits."""
        return frozenset(self.classes.values())

    def quota_record(self, project_id: str) -> Limits:
        """Return the limits that differ from the cloud's defaults."""
        with _about_a_project():
            found = self._nova.quotas.get(project_id).to_dict()
            defaults = self._nova.quotas.defaults(project_id).to_dict()
            return {
                name: _limit(int(found[name]))
                for name in self.lifted
                if found[name] != defaults[name]
            }

    def lift_quota(self, project_id: str) -> None:
        """Set cores, ram and instances to unlimited."""
        with _about_a_project():
            self._nova.quotas.update(
                project_id, **dict.fromkeys(self.lifted, UNLIMITED), force=True
            )

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Restore a record. The project's other limits stay as they are.

        Nova can only delete all explicit limits of a project at once, so the others are set again
        afterwards.
        """
        with _about_a_project():
            quotas = self._nova.quotas
            found = quotas.get(project_id).to_dict()
            defaults = quotas.defaults(project_id).to_dict()
            others = {
                name: value
                for name, value in found.items()
                if isinstance(value, int)
                and not isinstance(value, bool)
                and name not in self.lifted
                and value != defaults.get(name)
            }
            quotas.delete(project_id)
            wanted = others | {name: _number(limit) for name, limit in record.items()}
            if wanted:
                quotas.update(project_id, **wanted, force=True)


class UnifiedLimits:
    """Keystone's limits of the service nova: those of nova.quota.UnifiedLimitsDriver.

    There a resource class is named class:VCPU and so on; `servers` is the number of servers.
    """

    def __init__(self, cloud: Any, region_name: str | None) -> None:
        self._cloud, self._region_name = cloud, region_name
        self._service_id = ""

    def quota(self, project_id: str) -> Limits:
        """Return the effective limits by resource class."""
        return {
            name.removeprefix("class:"): _limit(value)
            for name, value in self._limits(project_id).items()
            if name.startswith("class:")
        }

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have."""
        return _limit(self._limits(project_id).get("servers", UNLIMITED))

    def _limits(self, project_id: str) -> dict[str, int]:
        own = {name: int(one.resource_limit) for name, one in self._own(project_id)}
        return self._defaults() | own

    def limited_classes(self) -> frozenset[str]:
        """Return the resource classes that have limits."""
        names = self._defaults()
        return frozenset(n.removeprefix("class:") for n in names if n.startswith("class:"))

    def registered(self) -> list[str]:
        """Return the names of the registered limits."""
        return sorted(self._defaults())

    def quota_record(self, project_id: str) -> Limits:
        """Return the project's own limits."""
        return {name: _limit(one.resource_limit) for name, one in self._own(project_id)}

    def lift_quota(self, project_id: str) -> None:
        """Set every class, and the number of servers, to unlimited."""
        self._set(project_id, dict.fromkeys(self._defaults(), UNLIMITED))

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Restore a record, and delete the limits that are not in it."""
        self._set(project_id, {name: _number(limit) for name, limit in record.items()})
        with translated_errors(KEYSTONE):
            for name, one in self._own(project_id):
                if name not in record:
                    self._cloud.identity.delete_limit(one.id)

    def _set(self, project_id: str, wanted: Mapping[str, int]) -> None:
        own = dict(self._own(project_id))
        with translated_errors(KEYSTONE):
            for name, value in wanted.items():
                if name not in own:
                    self._cloud.identity.create_limit(
                        service_id=self._nova(), project_id=project_id, resource_name=name,
                        resource_limit=value, region_id=self._region_name,
                    )  # fmt: skip
                elif own[name].resource_limit != value:
                    self._cloud.identity.update_limit(own[name].id, resource_limit=value)

    def _own(self, project_id: str) -> list[tuple[str, Any]]:
        with translated_errors(KEYSTONE):
            found = self._cloud.identity.limits(project_id=project_id, service_id=self._nova())
            return [(one.resource_name, one) for one in found]

    def _defaults(self) -> dict[str, int]:
        """Return the registered limits; Nova refuses every server of a class that has none."""
        with translated_errors(KEYSTONE):
            found = self._cloud.identity.registered_limits(service_id=self._nova())
            return {one.resource_name: int(one.default_limit) for one in found}

    def _nova(self) -> str:
        if not self._service_id:
            with translated_errors(KEYSTONE):
                found = list(self._cloud.identity.services(type="compute"))
            if len(found) != 1:
                raise ConfigurationInvalid(
                    [f"Keystone has {len(found)} services of type compute; there must be one"]
                )
            self._service_id = found[0].id
        return self._service_id


class CachedQuotas:
    """Caches `QuotaDriver.quota`, which every pass of the quota manager calls for every project."""

    def __init__(
        self,
        driver: QuotaDriver,
        *,
        kept_s: float,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver, self._kept_s, self._monotonic_s = driver, kept_s, monotonic_s
        self._cached: dict[str, tuple[float, Limits]] = {}

    def quota(self, project_id: str, *, fresh: bool = False) -> Limits:
        """Return the effective limits by resource class; `fresh` bypasses the cache."""
        now_s = self._monotonic_s()
        cached = self._cached.get(project_id)
        if cached is None or fresh or now_s - cached[0] > self._kept_s:
            cached = self._cached[project_id] = (now_s, self._driver.quota(project_id))
        return cached[1]

    def forget(self, project_id: str) -> None:
        """Drop a project from the cache."""
        self._cached.pop(project_id, None)

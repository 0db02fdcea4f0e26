"""Checks the cloud for `synergy-manage doctor`: each connection, permission and setting.

Why: whether nova-api really goes through Synergy depends on configuration files that Synergy cannot
read. So a probe creates an aggregate without hosts and deletes it, which makes nova-api publish a
cast and a notification. Must not change anything else.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from oslo_config import cfg

from synergy.core.errors import InvalidInput, SynergyError
from synergy.drivers.envelope import open_body
from synergy.drivers.nova_rpc import address, broker
from synergy.drivers.nova_rpc.relay import FANOUT, TOPIC
from synergy.drivers.nova_rpc.wire import Channel
from synergy.drivers.openstack import nova_client
from synergy.drivers.openstack import session as sessions
from synergy.drivers.openstack.identity import Identity
from synergy.drivers.openstack.placement import Placement
from synergy.drivers.openstack.quotas import QuotaSets, UnifiedLimits
from synergy.drivers.openstack.session import translated_errors
from synergy.ports import Finding

ARRIVAL_S: Final = 10.0  # how long to wait for a message of nova-api
SERVICES: Final = ("identity", "compute", "placement", "image")
CATALOGUE: Final = "check [openstack] interface and region_name, or register the endpoints"
NOVA: Final = "check that nova-api runs, and its endpoint: openstack endpoint list --service nova"
BROKER: Final = "check host, port, user, password and vhost, and that the broker runs"
UNITS: Final = ("class:VCPU", "class:MEMORY_MB", "servers")


class CheckFailed(Exception):
    """A check failed: what is wrong, and how to fix it."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.detail, self.fix = detail, fix


@dataclass(frozen=True, slots=True)
class _Check:
    """One check: `run` returns what to print when it passes, and raises when it fails.

    fix  shown when a service does not answer, and the exception holds no fix of its own
    """

    name: str
    run: Callable[[], str]
    fix: str


def examine(conf: cfg.ConfigOpts, *, probe: bool) -> Iterator[Finding]:
    """Run all checks and yield a finding for each; `probe` creates an aggregate and follows its
    messages.

    Without a token and a catalogue no API can be called, so the checks of APIs are skipped then.
    """
    cloud_checks = _CloudChecks(conf)
    reachable = True
    for check in _of_keystone(cloud_checks):
        if reachable:
            finding = _outcome(check)
            reachable = finding.passed
            yield finding
    checks = [
        *(_of_apis(cloud_checks) if reachable else ()),
        *_of_brokers(cloud_checks),
        *(_probes(cloud_checks) if reachable and probe else ()),
    ]
    yield from map(_outcome, checks)


def _of_keystone(cloud_checks: "_CloudChecks") -> list[_Check]:
    user = "check [openstack] auth_url, username, password, project and domains, and that Keystone"
    return [
        _Check("Keystone accepts Synergy's user", cloud_checks.authentication, f"{user} runs"),
        _Check("service catalogue", cloud_checks.catalogue, "check that Keystone runs"),
    ]


def _of_apis(cloud_checks: "_CloudChecks") -> list[_Check]:
    return [
        _Check("its roles", cloud_checks.roles, "check that Keystone runs"),
        _Check("Nova's API", cloud_checks.nova, NOVA),
        _Check("Placement", cloud_checks.placement, "check that Nova and Placement run"),
        _Check("quota driver", cloud_checks.quota_driver, "check [openstack] quota_driver"),
    ]


def _of_brokers(cloud_checks: "_CloudChecks") -> list[_Check]:
    notifications = partial(cloud_checks.vhost, "notifications_url")
    return [
        _Check("broker of nova-api (edge_url)", partial(cloud_checks.vhost, "edge_url"), BROKER),
        _Check("broker of Nova (core_url)", partial(cloud_checks.vhost, "core_url"), BROKER),
        _Check("notifications (notifications_url)", notifications, BROKER),
        _Check("queue of build requests on the edge", cloud_checks.edge_queue, BROKER),
        _Check("conductors on the core", cloud_checks.core_queue, BROKER),
    ]


def _probes(cloud_checks: "_CloudChecks") -> list[_Check]:
    return [
        _Check("nova-api publishes to the edge", cloud_checks.edge_probe, NOVA),
        _Check("the relay passes it on", cloud_checks.core_probe, NOVA),
        _Check("nova-api notifies", cloud_checks.notification_probe, NOVA),
    ]


def _outcome(check: _Check) -> Finding:
    try:
        return Finding(name=check.name, passed=True, detail=check.run())
    except CheckFailed as failure:
        return Finding(name=check.name, passed=False, detail=failure.detail, fix=failure.fix)
    except SynergyError as error:
        return Finding(name=check.name, passed=False, detail=str(error), fix=check.fix)
    except broker.FOREIGN as error:
        detail = f"{type(error).__name__}: {error}"
        return Finding(name=check.name, passed=False, detail=detail, fix=BROKER)


class _CloudChecks:
    """The checks of one cloud, and what the probe saw of it."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf, self._group = conf, conf[sessions.GROUP]
        self._session = sessions.open_session(conf)
        self._cloud = sessions.connect(self._session, self._group)
        self._nova = nova_client.connect(self._session, self._group)
        self._seen: dict[str, bool] = {}

    # --- Keystone ---------------------------------------------------------------------------------

    def authentication(self) -> str:
        """Get a token."""
        with translated_errors("Keystone"):
            access = self._session.auth.get_access(self._session)
        return f"as {access.username} in project {access.project_name}"

    def roles(self) -> str:
        """Check the role admin: without it, servers, quotas and users of other projects are
        hidden."""
        with translated_errors("Keystone"):
            access = self._session.auth.get_access(self._session)
        found, whose = access.role_names, f"--user {access.username}"
        if "admin" not in found:
            raise CheckFailed(
                f"the roles are {', '.join(sorted(found)) or 'none'}",
                f"openstack role add {whose} --project {access.project_name} admin",
            )
        listed = Identity(self._cloud, self._session, lambda _: None, lambda _: None).projects()
        return f"{', '.join(sorted(found))}; sees {len(listed)} projects"

    def catalogue(self) -> str:
        """Find the services in the catalogue."""
        with translated_errors("Keystone"):
            catalogue = self._session.auth.get_access(self._session).service_catalog
        missing = [
            service
            for service in SERVICES
            if not catalogue.get_urls(
                service_type=service,
                interface=self._group.interface,
                region_name=self._group.region_name,
            )
        ]
        if missing:
            raise CheckFailed(
                f"no {self._group.interface} endpoint of {', '.join(missing)} in region "
                f"{self._group.region_name}",
                CATALOGUE,
            )
        return f"{', '.join(SERVICES)} ({self._group.interface})"

    # --- Nova and Placement -----------------------------------------------------------------------

    def nova(self) -> str:
        """List servers of all projects."""
        with translated_errors("Nova"):
            self._nova.servers.list(search_opts={"all_tenants": 1}, limit=1)
            services = self._nova.services.list()
        down = [f"{one.binary} on {one.host}" for one in services if one.state != "up"]
        return f"{len(services)} services" + (f", down: {', '.join(down)}" if down else "")

    def placement(self) -> str:
        """Count the hosts and their VCPU."""
        hosts = Placement(self._cloud, self._nova, self._group.aggregates).hosts()
        up = [host for host in hosts if host.up]
        if not up:
            raise CheckFailed(
                f"{len(hosts)} hosts, none of them up and enabled",
                "openstack compute service list; nova-manage cell_v2 discover_hosts",
            )
        vcpus = sum(host.capacity.get("VCPU", 0) for host in up)
        return f"{len(up)} of {len(hosts)} hosts are up, with {vcpus} VCPU"

    def quota_driver(self) -> str:
        """Read the limits of Synergy's own project with the configured quota driver."""
        with translated_errors("Keystone"):
            project = self._session.get_project_id()
        if self._group.quota_driver != "unified_limits":
            return f"os-quota-sets: {dict(QuotaSets(self._nova).quota(project))}"
        names = UnifiedLimits(self._cloud, self._group.region_name).registered()
        missing = [name for name in UNITS if name not in names]
        if missing:
            raise CheckFailed(
                f"no registered limit of {', '.join(missing)}",
                "openstack registered limit create --service nova --default-limit N "
                f"{missing[0]}: without one Nova refuses every server",
            )
        return f"unified limits of {', '.join(sorted(names))}"

    # --- brokers ----------------------------------------------------------------------------------

    def _broker(self, name: str) -> broker.Broker:
        url = self._group[name] or self._group.core_url
        options = {option.name: self._group[option.name] for option in address.OPTIONS}
        return broker.Broker(address.read_address(url, options))

    def vhost(self, name: str) -> str:
        """Connect to each host: after a failure, any of them may be the only one left."""
        whole = self._broker(name).address
        away = []
        for host in whole.hosts:
            try:
                with broker.Broker(replace(whole, hosts=(host,))).connect():
                    pass
            except broker.FOREIGN as error:
                if len(whole.hosts) == 1:
                    raise
                away.append(f"{host.name}:{host.port}: {error}")
        if away:
            raise CheckFailed(f"of {whole}, unreachable: {'; '.join(away)}", BROKER)
        return f"connected to {whole}"

    def _queue(self, name: str) -> tuple[int, int]:
        """Return how many messages wait for a conductor, and how many consumers there are."""
        with self._broker(name).connect() as connection:
            try:
                found = connection.channel().queue_declare(TOPIC, passive=True)
            except broker.FOREIGN as error:
                if getattr(error, "reply_code", None) != 404:
                    raise
                raise CheckFailed(
                    f"there is no queue {TOPIC!r}",
                    "start synergy-service before nova-api: without the queue, requests are lost"
                    if name == "edge_url"
                    else "start nova-conductor",
                ) from error
            return int(found.message_count), int(found.consumer_count)

    def edge_queue(self) -> str:
        """Check that only Synergy consumes there."""
        waiting, listening = self._queue("edge_url")
        if listening > 1:
            raise CheckFailed(
                f"{listening} consumers",
                "a nova-conductor consumes it too: only nova-api may have the edge as its "
                "transport_url",
            )
        return f"{waiting} waiting, {'Synergy listens' if listening else 'Synergy is not running'}"

    def core_queue(self) -> str:
        """Check that Nova's conductors consume there."""
        waiting, listening = self._queue("core_url")
        if not listening:
            raise CheckFailed(
                "no consumers", "start nova-conductor with the core as its transport_url"
            )
        return f"{listening} consumers, {waiting} waiting"

    # --- the probe --------------------------------------------------------------------------------

    def edge_probe(self) -> str:
        """Check that the probe's cast came to the edge."""
        if not self._probed()["edge"]:
            raise CheckFailed(
                "a cast of nova-api did not come to the edge",
                "set [DEFAULT] transport_url of nova-api, and of it alone, to the edge_url",
            )
        return "a cast came to the edge"

    def core_probe(self) -> str:
        """Check that the same cast came to the core."""
        if not self._probed()["core"]:
            raise CheckFailed("the cast did not come to the core", "start synergy-service")
        return "the cast came to the core"

    def notification_probe(self) -> str:
        """Check that nova-api sent a notification."""
        if not self._probed()["notification"]:
            raise CheckFailed(
                f"no notification came to {', '.join(self._group.nova_topics)}",
                "nova.conf of every service of Nova: [oslo_messaging_notifications] driver = "
                "messagingv2 and transport_url = the core's; [notifications] notification_format "
                "= both or versioned, notify_on_state_change = vm_and_task_state",
            )
        return f"came to {', '.join(self._group.nova_topics)}"

    def _probed(self) -> dict[str, bool]:
        """Create and delete an aggregate, once, and return where its messages were seen."""
        if self._seen:
            return self._seen
        name = f"synergy-doctor-{uuid.uuid4().hex[:12]}"
        topics = [f"{topic}.info" for topic in self._group.nova_topics]
        exchange = self._group.nova_exchange
        with (
            _listening(self._broker("edge_url")) as (edge, on_edge),
            _listening(self._broker("core_url")) as (core, on_core),
            _listening(self._broker("notifications_url")) as (notes, on_notes),
        ):
            for channel, queue in (edge, core):
                channel.exchange_declare(
                    FANOUT, "fanout", durable=self._group.transient_quorum_queues, auto_delete=True
                )
                channel.queue_bind(queue, FANOUT, "")
            channel, queue = notes
            for key in topics:
                channel.queue_bind(queue, exchange, key)
            with translated_errors("Nova"):
                made = self._nova.aggregates.create(name, None)
                self._nova.aggregates.delete(made.id)
            seen = {"edge": False, "core": False, "notification": False}
            listeners = {"edge": on_edge, "core": on_core, "notification": on_notes}
            deadline_s = time.monotonic() + ARRIVAL_S
            while not all(seen.values()) and time.monotonic() < deadline_s:
                for place, arrived in listeners.items():
                    seen[place] |= any(name in body for body in arrived())
                time.sleep(0.1)
        self._seen = seen
        return seen


@contextmanager
def _listening(
    place: broker.Broker,
) -> Iterator[tuple[tuple[Channel, str], Callable[[], list[str]]]]:
    """Yield a channel with a temporary queue of our own, and a function that returns its
    messages."""
    with place.connect() as connection:
        channel: Channel = connection.channel()
        queue = str(channel.queue_declare("", exclusive=True, auto_delete=True).queue)

        def arrived() -> list[str]:
            found = []
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                try:
                    found.append(str(open_body(broker.body_of(message)).message))
                except InvalidInput:
                    continue
            return found

        yield (channel, queue), arrived

"""Examines the cloud that Synergy stands beside: each connection, right and setting.

Why: whether nova-api really goes through Synergy is decided by configuration files that Synergy
cannot read, so it is tried out: an aggregate without hosts, made and deleted again, makes nova-api
publish a cast and a notification. Must not change anything else.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from oslo_config import cfg

from synergy.core.errors import InvalidInput, SynergyError
from synergy.drivers.envelope import open_body
from synergy.drivers.nova_rpc import address, broker
from synergy.drivers.nova_rpc.relay import FANOUT, TOPIC
from synergy.drivers.openstack import session as sessions
from synergy.drivers.openstack.identity import Identity
from synergy.drivers.openstack.placement import Placement
from synergy.drivers.openstack.quotas import QuotaSets, UnifiedLimits
from synergy.drivers.openstack.session import asking
from synergy.ports import Finding

ARRIVAL_S: Final = 10.0  # how long a message of nova-api is waited for
SERVICES: Final = ("identity", "compute", "placement", "image")
CATALOGUE: Final = "check [openstack] interface and region_name, or register the endpoints"
NOVA: Final = "check that nova-api runs, and its endpoint: openstack endpoint list --service nova"
BROKER: Final = "check host, port, user, password and vhost, and that the broker runs"
UNITS: Final = ("class:VCPU", "class:MEMORY_MB", "servers")


class _Ill(Exception):
    """A check found something wrong: what, and how to mend it."""

    def __init__(self, said: str, mend: str) -> None:
        super().__init__(said)
        self.said, self.mend = said, mend


@dataclass(frozen=True, slots=True)
class _Check:
    """One check: it returns what to say when all is well; `mend` is for when nobody answers it."""

    name: str
    run: Callable[[], str]
    mend: str


def examine(conf: cfg.ConfigOpts, *, probe: bool) -> Iterator[Finding]:
    """Check everything, one finding after the other; `probe` makes an aggregate to see its way.

    Without a token and a catalogue nothing can be asked of the APIs, and those checks are left out.
    """
    patient = _Patient(conf)
    reachable = True
    for check in _of_keystone(patient):
        if reachable:
            finding = _outcome(check)
            reachable = finding.well
            yield finding
    checks = [
        *(_of_apis(patient) if reachable else ()),
        *_of_brokers(patient),
        *(_probes(patient) if reachable and probe else ()),
    ]
    yield from map(_outcome, checks)


def _of_keystone(patient: "_Patient") -> list[_Check]:
    user = "check [openstack] auth_url, username, password, project and domains, and that Keystone"
    return [
        _Check("Keystone accepts Synergy's user", patient.authentication, f"{user} runs"),
        _Check("service catalogue", patient.catalogue, "check that Keystone runs"),
    ]


def _of_apis(patient: "_Patient") -> list[_Check]:
    return [
        _Check("its roles", patient.roles, "check that Keystone runs"),
        _Check("Nova's API", patient.nova, NOVA),
        _Check("Placement", patient.placement, "check that Nova and Placement run"),
        _Check("quota driver", patient.quota_driver, "check [openstack] quota_driver"),
    ]


def _of_brokers(patient: "_Patient") -> list[_Check]:
    notifications = partial(patient.vhost, "notifications_url")
    return [
        _Check("broker of nova-api (edge_url)", partial(patient.vhost, "edge_url"), BROKER),
        _Check("broker of Nova (core_url)", partial(patient.vhost, "core_url"), BROKER),
        _Check("notifications (notifications_url)", notifications, BROKER),
        _Check("queue of build requests on the edge", patient.edge_queue, BROKER),
        _Check("conductors on the core", patient.core_queue, BROKER),
    ]


def _probes(patient: "_Patient") -> list[_Check]:
    return [
        _Check("nova-api publishes to the edge", patient.edge_probe, NOVA),
        _Check("the relay passes it on", patient.core_probe, NOVA),
        _Check("nova-api notifies", patient.notification_probe, NOVA),
    ]


def _outcome(check: _Check) -> Finding:
    try:
        return Finding(name=check.name, well=True, said=check.run())
    except _Ill as ill:
        return Finding(name=check.name, well=False, said=ill.said, mend=ill.mend)
    except SynergyError as error:
        return Finding(name=check.name, well=False, said=str(error), mend=check.mend)
    except broker.FOREIGN as error:
        said = f"{type(error).__name__}: {error}"
        return Finding(name=check.name, well=False, said=said, mend=BROKER)


class _Patient:
    """A cloud, and what the probe saw of it."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf, self._group = conf, conf[sessions.GROUP]
        self._session = sessions.open_session(conf)
        self._cloud = sessions.connect(self._session, self._group)
        self._seen: dict[str, bool] = {}

    # --- Keystone ---------------------------------------------------------------------------------

    def authentication(self) -> str:
        """Get a token."""
        with asking("Keystone"):
            access = self._session.auth.get_access(self._session)
        return f"as {access.username} in project {access.project_name}"

    def roles(self) -> str:
        """An administrator sees every project's servers, quotas and users."""
        with asking("Keystone"):
            access = self._session.auth.get_access(self._session)
        found, whose = access.role_names, f"--user {access.username}"
        if "admin" not in found:
            raise _Ill(
                f"the roles are {', '.join(sorted(found)) or 'none'}",
                f"openstack role add {whose} --project {access.project_name} admin",
            )
        listed = Identity(self._cloud, self._session, lambda _: None, lambda _: None).projects()
        return f"{', '.join(sorted(found))}; sees {len(listed)} projects"

    def catalogue(self) -> str:
        """Find the services in the catalogue."""
        with asking("Keystone"):
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
            raise _Ill(
                f"no {self._group.interface} endpoint of {', '.join(missing)} in region "
                f"{self._group.region_name}",
                CATALOGUE,
            )
        return f"{', '.join(SERVICES)} ({self._group.interface})"

    # --- Nova and Placement -----------------------------------------------------------------------

    def nova(self) -> str:
        """List servers of all projects."""
        with asking("Nova"):
            next(iter(self._cloud.compute.servers(all_projects=True, limit=1)), None)
            services = list(self._cloud.compute.services())
        down = [f"{one.binary} on {one.host}" for one in services if one.state != "up"]
        return f"{len(services)} services" + (f", down: {', '.join(down)}" if down else "")

    def placement(self) -> str:
        """Size the cloud."""
        hosts = Placement(self._cloud, self._group.aggregates).hosts()
        up = [host for host in hosts if host.up]
        if not up:
            raise _Ill(
                f"{len(hosts)} hosts, none of them up and enabled",
                "openstack compute service list; nova-manage cell_v2 discover_hosts",
            )
        vcpus = sum(host.capacity.get("VCPU", 0) for host in up)
        return f"{len(up)} of {len(hosts)} hosts are up, with {vcpus} VCPU"

    def quota_driver(self) -> str:
        """Read the limits of Synergy's own project where the configuration says that they are."""
        with asking("Keystone"):
            project = self._session.get_project_id()
        if self._group.quota_driver != "unified_limits":
            return f"os-quota-sets: {dict(QuotaSets(self._cloud).quota(project))}"
        names = UnifiedLimits(self._cloud, self._group.region_name).registered()
        missing = [name for name in UNITS if name not in names]
        if missing:
            raise _Ill(
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
        """Connect to each host, as any of them may be the one that is left."""
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
            raise _Ill(f"of {whole}, away is {'; '.join(away)}", BROKER)
        return f"connected to {whole}"

    def _queue(self, name: str) -> tuple[int, int]:
        """Return how many messages wait for a conductor and how many listen."""
        with self._broker(name).connect() as connection:
            try:
                found = connection.channel().queue_declare(TOPIC, passive=True)
            except broker.FOREIGN as error:
                if getattr(error, "reply_code", None) != 404:
                    raise
                raise _Ill(
                    f"there is no queue {TOPIC!r}",
                    "start synergy-service before nova-api: what is asked while there is no queue "
                    "is lost"
                    if name == "edge_url"
                    else "start nova-conductor",
                ) from error
            return int(found.message_count), int(found.consumer_count)

    def edge_queue(self) -> str:
        """Only Synergy listens there."""
        waiting, listening = self._queue("edge_url")
        if listening > 1:
            raise _Ill(
                f"{listening} consumers",
                "a nova-conductor listens there too: only nova-api may have the edge as its "
                "transport_url",
            )
        return f"{waiting} waiting, {'Synergy listens' if listening else 'Synergy is not running'}"

    def core_queue(self) -> str:
        """Nova's conductors listen there."""
        waiting, listening = self._queue("core_url")
        if not listening:
            raise _Ill("nobody listens", "start nova-conductor with the core as its transport_url")
        return f"{listening} listening, {waiting} waiting"

    # --- the probe --------------------------------------------------------------------------------

    def edge_probe(self) -> str:
        """See a cast of nova-api on the edge."""
        if not self._probed()["edge"]:
            raise _Ill(
                "a cast of nova-api did not come to the edge",
                "set [DEFAULT] transport_url of nova-api, and of it alone, to the edge_url",
            )
        return "a cast came to the edge"

    def core_probe(self) -> str:
        """See the same cast on the core."""
        if not self._probed()["core"]:
            raise _Ill("the cast did not come to the core", "start synergy-service")
        return "the cast came to the core"

    def notification_probe(self) -> str:
        """See a notification of nova-api."""
        if not self._probed()["notification"]:
            raise _Ill(
                f"none came to {', '.join(self._group.nova_topics)}",
                "nova.conf of every service of Nova: [oslo_messaging_notifications] driver = "
                "messagingv2 and transport_url = the core's; [notifications] notification_format "
                "= both or versioned, notify_on_state_change = vm_and_task_state",
            )
        return f"came to {', '.join(self._group.nova_topics)}"

    def _probed(self) -> dict[str, bool]:
        """Make and delete an aggregate once, and tell where it was seen."""
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
            with asking("Nova"):
                made = self._cloud.compute.create_aggregate(name=name)
                self._cloud.compute.delete_aggregate(made.id)
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
def _listening(place: broker.Broker) -> Iterator[tuple[tuple[Any, str], Callable[[], list[str]]]]:
    """Give a channel with a queue of our own, gone afterwards, and what returns its messages."""
    with place.connect() as connection:
        channel = connection.channel()
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

"""Opens a real OpenStack for the service: the entry point `openstack` of `synergy.clouds`."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from oslo_config import cfg

from synergy.core.errors import ConfigurationInvalid, InvalidInput
from synergy.drivers.nova_rpc import address
from synergy.drivers.nova_rpc.broker import Broker, Durability
from synergy.drivers.nova_rpc.driver import NovaRpc, ServerChanges
from synergy.drivers.openstack import doctor, nova_client
from synergy.drivers.openstack import session as sessions
from synergy.drivers.openstack.compute import OpenStackCompute
from synergy.drivers.openstack.identity import Identity
from synergy.drivers.openstack.notifications import KeystoneNotices, NovaNotices
from synergy.drivers.openstack.nova_api import NovaApi
from synergy.drivers.openstack.placement import Placement
from synergy.drivers.openstack.quotas import CachedQuotas, QuotaSets, UnifiedLimits
from synergy.ports import Clock, Cloud, Finding

GROUP: Final = sessions.GROUP
BROKER_URLS: Final = ("edge_url", "core_url", "notifications_url")
OPTIONS: Final = (
    *sessions.auth_options(),
    cfg.StrOpt("region_name", help="Region of the services to use."),
    cfg.StrOpt(
        "interface",
        default="internal",
        choices=[
            ("public", "Endpoints for users."),
            ("internal", "Endpoints on the services' own network."),
            ("admin", "Endpoints for administrators."),
        ],
        help="Which endpoints of the service catalogue to use.",
    ),
    cfg.StrOpt(
        "edge_url",
        secret=True,
        help="URL of the vhost that nova-api publishes to, such as "
        "rabbit://user:password@host:5672/edge, or with several hosts and TLS: "
        "rabbit://user:password@host1:5671,user:password@host2:5671/edge?ssl=1.",
    ),
    cfg.StrOpt(
        "core_url",
        secret=True,
        help="URL of the vhost of all other Nova services, such as "
        "rabbit://user:password@host:5672/core.",
    ),
    cfg.StrOpt(
        "notifications_url",
        secret=True,
        help="URL of the vhost of Nova's and Keystone's notifications. Default: core_url.",
    ),
    *address.OPTIONS,
    cfg.BoolOpt(
        "quorum_queues",
        default=False,
        help="Declare quorum queues, as Nova does with rabbit_quorum_queue; set both alike. "
        "Without durable or quorum queues, requests are lost when the broker restarts.",
    ),
    cfg.BoolOpt(
        "durable_queues",
        default=False,
        help="Declare durable queues, as Nova does with amqp_durable_queues; set both alike.",
    ),
    cfg.BoolOpt(
        "transient_quorum_queues",
        default=False,
        help="Declare quorum queues for fanouts and replies, as Nova does with "
        "rabbit_transient_quorum_queue; set both alike.",
    ),
    cfg.IntOpt(
        "prefetch",
        default=1000,
        min=1,
        max=65_535,
        help="Maximum number of messages taken from the broker and not yet acknowledged.",
    ),
    cfg.StrOpt("nova_exchange", default="nova", help="Exchange of Nova's notifications."),
    cfg.ListOpt(
        "nova_topics",
        default=["versioned_notifications"],
        help="Topics of Nova's notifications: versioned_notifications, or notifications for the "
        "unversioned format. Synergy binds its own queue to each.",
    ),
    cfg.StrOpt(
        "keystone_exchange", default="keystone", help="Exchange of Keystone's notifications."
    ),
    cfg.StrOpt(
        "keystone_topic", default="notifications", help="Topic of Keystone's notifications."
    ),
    cfg.StrOpt(
        "pool",
        default="synergy",
        help="Prefix of the names of Synergy's notification queues, so that Ceilometer and others "
        "get their own copy of each notification.",
    ),
    cfg.StrOpt(
        "quota_driver",
        default="quota_sets",
        choices=[
            ("quota_sets", "In Nova's os-quota-sets (nova.quota.DbQuotaDriver)."),
            ("unified_limits", "In Keystone's unified limits (nova.quota.UnifiedLimitsDriver)."),
        ],
        help="Where Nova's limits are kept; must match [quota] driver in nova.conf.",
    ),
    cfg.FloatOpt(
        "quota_cache_s",
        deprecated_name="quota_kept_s",
        default=600.0,
        min=0,
        max=86_400,
        help="Seconds for which the limits of a project that is not managed are cached.",
    ),
    cfg.ListOpt(
        "aggregates",
        default=[],
        help="Names of the host aggregates whose hosts count as capacity. Default: every host.",
    ),
)


def examine(conf: cfg.ConfigOpts, *, probe: bool) -> Iterator[Finding]:
    """Check every connection, permission and setting. Raises ConfigurationInvalid."""
    problems = _problems(conf[GROUP])
    if problems:
        raise ConfigurationInvalid(problems)
    return doctor.examine(conf, probe=probe)


def issue_token(conf: cfg.ConfigOpts) -> str:
    """Return a token of Synergy's own user. Raises ConfigurationInvalid, UpstreamUnavailable."""
    session = sessions.open_session(conf)
    with sessions.translated_errors("Keystone"):
        return str(session.get_token())


def open_cloud(conf: cfg.ConfigOpts, clock: Clock) -> Cloud:
    """Return the ports of a running cloud, without calling it yet. Raises ConfigurationInvalid."""
    group = conf[GROUP]
    problems = _problems(group)
    if problems:
        raise ConfigurationInvalid(problems)
    session = sessions.open_session(conf)
    cloud = sessions.connect(session, group)
    nova = nova_client.connect(session, group)
    servers = NovaApi(nova, cloud)
    quotas = (
        UnifiedLimits(cloud, group.region_name)
        if group.quota_driver == "unified_limits"
        else QuotaSets(nova)
    )
    cached_quotas = CachedQuotas(quotas, kept_s=group.quota_cache_s, monotonic_s=clock.monotonic_s)
    durability = durability_of(group)
    broker_of = partial(broker_at, group)
    keystone = KeystoneNotices(
        broker_of("notifications_url"), exchange=group.keystone_exchange,
        topic=group.keystone_topic, pool=group.pool, durability=durability,
    )  # fmt: skip
    notices = NovaNotices(
        broker_of("notifications_url"), exchange=group.nova_exchange, topics=group.nova_topics,
        pool=group.pool, durability=durability,
    )  # fmt: skip
    rpc = NovaRpc(
        broker_of("edge_url"), broker_of("core_url"), still_waiting=servers.still_waiting,
        durability=durability, prefetch=group.prefetch,
    )  # fmt: skip

    def close() -> None:
        for driver in (rpc, notices, keystone):
            driver.close()

    ports: dict[str, object] = {
        "intake": rpc,
        "conductor": rpc,
        "changes": ServerChanges(rpc),
        "compute": OpenStackCompute(
            servers, Placement(cloud, nova, group.aggregates), quotas, cached_quotas
        ),
        "notices": notices,
        "identity": Identity(
            cloud,
            session,
            lambda trust_id: sessions.open_trusted_session(conf, trust_id),
            keystone.on_change,
        ),
    }
    return Cloud(ports=ports, close=close)


def durability_of(group: Any) -> Durability:
    """Return how to declare queues."""
    return Durability(
        durable=group.durable_queues,
        quorum=group.quorum_queues,
        transient_quorum=group.transient_quorum_queues,
    )


def options_of(group: Any) -> dict[str, object]:
    """Return the connection options for brokers whose URL does not set them."""
    return {option.name: group[option.name] for option in address.OPTIONS}


def broker_at(group: Any, name: str) -> Broker:
    """Return the broker that a URL option names. Raises InvalidInput."""
    url = group[name] or group.core_url
    return Broker(address.read_address(url, options_of(group)))


def _places(one: address.Address) -> list[tuple[str, int]]:
    return [(host.name, host.port) for host in one.hosts]


def _problems(group: Any) -> list[str]:
    """Return what is wrong with the brokers' URLs."""
    found: list[str] = []
    read: dict[str, address.Address] = {}
    for name in BROKER_URLS:
        url = group[name]
        if not url:
            if name != "notifications_url":
                found.append(f"[openstack] {name} is not set")
            continue
        try:
            read[name] = address.read_address(url, options_of(group))
        except InvalidInput as error:
            found.append(f"[openstack] {name}: {error}")
    places = {name: (set(_places(one)), one.vhost) for name, one in read.items()}
    if "edge_url" in places and places["edge_url"] == places.get("core_url"):
        found.append(
            "[openstack] edge_url and core_url are the same: nova-api needs a vhost of its own, "
            "or Synergy would relay to itself"
        )
    return found

"""How Synergy is configured beside the lab, for those who write a file and those who set options."""

from lab import configuration
from lab.settings import SECRET, Settings


def beside(settings: Settings) -> dict[str, object]:
    """Return the options of [openstack] by name."""
    return {
        "auth_type": "password",
        "auth_url": f"{settings.url('keystone')}/v3",
        "username": "synergy",
        "password": SECRET,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": "RegionOne",
        "edge_url": configuration.broker(settings, "edge"),
        "core_url": configuration.broker(settings, "core"),
        "quorum_queues": settings.quorum_queues,
        "transient_quorum_queues": settings.quorum_queues,
    }

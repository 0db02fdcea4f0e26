"""Creates what is missing in the lab: seed.py accounts | resources."""

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import openstack

SECRET = "secret"
CATALOGUE = {
    "nova": ("compute", os.environ["LAB_NOVA_URL"] + "/v2.1"),
    "placement": ("placement", os.environ["LAB_PLACEMENT_URL"]),
    "glance": ("image", os.environ["LAB_GLANCE_URL"]),
    "neutron": ("network", os.environ["LAB_NEUTRON_URL"]),
}
MEMBERS = {"science": ("alice", "bob"), "physics": ("alice", "carol"), "private": ()}
FLAVORS = {"m1.tiny": (1, 64, 1), "m1.small": (2, 512, 1), "m1.big": (8, 4096, 10)}


def named(found: Iterable[Any], name: str) -> Any:
    """Return the object with that name, or None."""
    return next((one for one in found if one.name == name), None)


def accounts(cloud: Any) -> None:
    """Create service users, projects with their members, and the catalogue."""
    identity = cloud.identity

    def project(name: str) -> Any:
        found = named(identity.projects(domain_id="default"), name)
        return found or identity.create_project(name=name, domain_id="default")

    def give(name: str, to: Any, *roles: str) -> None:
        user = named(identity.users(domain_id="default"), name) or identity.create_user(
            name=name, password=SECRET, domain_id="default"
        )
        for role in roles:
            granted = named(identity.roles(), role) or identity.create_role(name=role)
            identity.assign_project_role_to_user(to, user, granted)

    service = project("service")
    for name in (*CATALOGUE, "synergy"):
        give(name, service, "admin", "service")
    for name, members in MEMBERS.items():
        made = project(name)
        give("admin", made, "admin")
        for member in members:
            give(member, made, "member")
    for name, (kind, url) in CATALOGUE.items():
        service = named(identity.services(), name) or identity.create_service(name=name, type=kind)
        present = {one.interface for one in identity.endpoints(service_id=service.id)}
        for interface in {"public", "internal", "admin"} - present:
            identity.create_endpoint(
                service_id=service.id, interface=interface, url=url, region_id="RegionOne"
            )


def resources(cloud: Any) -> None:
    """Create an image and flavors, and wait for the hosts."""
    if named(cloud.image.images(), "tiny") is None:
        path = Path(os.environ["LAB_FOLDER"]) / "tiny.raw"
        path.write_bytes(bytes(1024))
        cloud.image.create_image(
            name="tiny", filename=str(path), disk_format="raw", container_format="bare",
            visibility="public", use_import=False,
        )  # fmt: skip
    for name, (vcpus, ram_mb, disk_gb) in FLAVORS.items():
        if named(cloud.compute.flavors(), name) is None:
            cloud.compute.create_flavor(name=name, vcpus=vcpus, ram=ram_mb, disk=disk_gb)
    wanted = int(os.environ["LAB_COMPUTE_COUNT"])
    for _ in range(90):
        services = cloud.compute.services(binary="nova-compute")
        up = [one.host for one in services if one.state == "up"]
        if len(up) >= wanted and len(list(cloud.compute.hypervisors())) >= wanted:
            return
        time.sleep(1)
    sys.exit(f"only these hosts are up: {', '.join(up) or 'none'}; {wanted} should be")


if __name__ == "__main__":
    {"accounts": accounts, "resources": resources}[sys.argv[1]](openstack.connect())

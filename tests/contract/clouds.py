"""The clouds that the contract is held against, each with what a test needs to play its user."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lab.settings import SECRET
from synergy.core.errors import InvalidInput, NotFound
from synergy.ports import (
    Change,
    Changes,
    Cloud,
    CloudUser,
    Compute,
    Conductor,
    Delivery,
    Identity,
    Intake,
    NoticeKind,
    Notices,
    ServerView,
)
from tests.builders import World


class CloudUnderTest(Protocol):
    """What a test may ask of either: the ports, and what plays the user and the time."""

    vcpus: int
    intake: Intake
    conductor: Conductor
    compute: Compute
    identity: Identity
    user: CloudUser

    @property
    def changes(self) -> Changes:
        """What waits for Synergy of resizes and unshelves."""

    def limit_servers(self, project_id: str, limit: int) -> None:
        """Limit how many servers a project may have in Nova."""

    def change_project(self, name: str, *, tags: Sequence[str], enabled: bool) -> None:
        """Let an administrator change a project in Keystone."""

    def changed(self) -> Change:
        """Return the only change that waits."""

    def settle(self) -> None:
        """Let what was begun come to its end."""

    def fetched(self) -> Delivery:
        """Return the only delivery that waits."""

    def told(self) -> list[tuple[NoticeKind, str]]:
        """Return what Nova told since the last time: kind, server."""

    def finish_image(self, image_id: str) -> None:
        """Let the image of a server become complete."""

    def end_token(self, token: str) -> None:
        """Let a token be of no use any longer."""

    def acts_for(self, token: str) -> tuple[str, str]:
        """Return the user and the project of a token."""


class EmbeddedUnderTest:
    """The embedded cloud: time passes when the test says so."""

    vcpus = 16

    def __init__(self, world: World) -> None:
        self.nova = world.nova
        self.intake: Intake = world.nova
        self.conductor: Conductor = world.nova
        self.compute: Compute = world.nova
        self.user: CloudUser = world.nova
        self.identity: Identity = world.engine.identity
        self._identity = world.engine.identity
        self._clock = world.engine.clock
        self._clock_step = world.engine.clock.at

    @property
    def changes(self) -> Changes:
        changes: Changes = self.nova.changes
        return changes

    def limit_servers(self, project_id: str, limit: int) -> None:
        self.nova.set_quota(project_id, {"servers": limit})

    def change_project(self, name: str, *, tags: Sequence[str], enabled: bool) -> None:
        project_id = self.identity.find_project(name).project_id
        self._identity.set_tags(project_id, tags)
        self._identity.enable_project(project_id, enabled=enabled)

    def changed(self) -> Change:
        (change,) = self.changes.fetch(limit=10)
        return change

    def settle(self) -> None:
        self._clock.move_to(self._clock_step(self._clock.monotonic_s() + 60))
        self.nova.catch_up()

    def fetched(self) -> Delivery:
        (delivery,) = self.intake.fetch(limit=10)
        return delivery

    def told(self) -> list[tuple[NoticeKind, str]]:
        return [(n.kind, n.server_id) for n in self.nova.take_notices(1000)]

    def finish_image(self, image_id: str) -> None:
        self.settle()

    def end_token(self, token: str) -> None:
        for _ in range(61):
            self.settle()  # longer than a token lives

    def acts_for(self, token: str) -> tuple[str, str]:
        found = self._identity.check_token(token)
        assert found is not None
        return found.user_id, found.project_id


Connection = Any  # of openstacksdk, which has no types
Connect = Callable[..., Connection]  # as a user in a project
PROJECTS: dict[str, tuple[str, tuple[str, ...], dict[str, int]]] = {  # name: domain, users, limits
    "A": ("default", ("alice", "anna"), {"cores": 0, "ram": 0}),
    "B": ("research", ("bob",), {"cores": 0, "ram": 0}),
    "C": ("default", ("carol",), {"cores": 4, "ram": 4096}),
}
FLAVORS = {"small": (1, 256), "medium": (2, 512), "large": (8, 2048), "giant": (64, 256)}
PICKY = {"trait:COMPUTE_FIRMWARE_UEFI": "required"}  # which no host has
PASSING = ("BUILD", "RESIZE", "REBOOT", "MIGRATING")


class OpenStackUnderTest:
    """A running OpenStack with nova-api on the edge; made once, and emptied for every test."""

    vcpus = 80

    def __init__(self, connect: Connect, opened: Cloud) -> None:
        """Connect as anybody; the ports are those that the plugin opens."""
        self._connect, self.admin = connect, connect()
        ports: Mapping[str, Any] = opened.ports
        self.intake: Intake = ports["intake"]
        self.conductor: Conductor = ports["conductor"]
        self.compute: Compute = ports["compute"]
        self.identity: Identity = ports["identity"]
        self.changes: Changes = ports["changes"]
        self.user: CloudUser = self
        self._notices: Notices = ports["notices"]
        self._connections: dict[tuple[str, str], Connection] = {}
        self._seed()
        self.intake.manage(frozenset())
        self._notices.on_arrival(lambda: None)
        assert self.intake.wait_ready(20)

    def _seed(self) -> None:
        identity, compute = self.admin.identity, self.admin.compute
        for domain in {one[0] for one in PROJECTS.values()} - {"default"}:
            if identity.find_domain(domain) is None:
                identity.create_domain(name=domain)
        member = identity.find_role("member")
        self.project_ids: dict[str, str] = {}
        for name, (domain, users, limits) in PROJECTS.items():
            domain_id = identity.find_domain(domain, ignore_missing=False).id
            project = identity.find_project(name, domain_id=domain_id) or identity.create_project(
                name=name, domain_id=domain_id
            )
            self.project_ids[name] = project.id
            compute.revert_quota_set(project.id)
            compute.update_quota_set(project.id, **limits, force=True)
            for user in users:
                found = identity.find_user(user, domain_id="default") or identity.create_user(
                    name=user, password=SECRET, domain_id="default"
                )
                identity.assign_project_role_to_user(project, found, member)
        for name, (vcpus, ram) in FLAVORS.items():
            if found := compute.find_flavor(name):
                compute.delete_flavor(found)
            compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=1)
        if found := compute.find_flavor("picky"):
            compute.delete_flavor(found)
        picky = compute.create_flavor(name="picky", vcpus=1, ram=256, disk=1)
        compute.create_flavor_extra_specs(picky, PICKY)

    def as_user(self, user: str, project: str) -> Connection:
        key = user, project
        if key not in self._connections:
            self._connections[key] = self._connect(user, project)
        return self._connections[key]

    def change_project(self, name: str, *, tags: Sequence[str], enabled: bool) -> None:
        project_id = self.project_ids[name]
        body = {"project": {"tags": tags, "enabled": enabled}}
        self.admin.identity.patch(f"/projects/{project_id}", json=body).raise_for_status()

    def empty(self) -> None:
        """Let nobody be managed, and nothing be left of the test before."""
        self.intake.manage(frozenset())
        for project_id in self.project_ids.values():
            for server in self.admin.compute.servers(all_projects=True, project_id=project_id):
                self.admin.compute.delete_server(server, ignore_missing=True)
        self._connections.clear()
        self.settle()
        self.intake.acknowledge(self.intake.fetch(limit=1000))
        self.changes.acknowledge(self.changes.fetch(limit=1000))
        self.told()

    # --- what a test says of a cloud --------------------------------------------------------------

    def settle(self) -> None:
        """Wait until no server is on its way anywhere, those apart that wait for us."""
        deadline_s, calm = time.monotonic() + 90, 0
        while calm < 3:
            moving = [one for p in self.project_ids.values() for one in self._moving(p)]
            calm = 0 if moving else calm + 1
            assert time.monotonic() < deadline_s, f"still on their way: {moving}"
            time.sleep(0.5)

    def _moving(self, project_id: str) -> list[str]:
        servers = self.admin.compute.servers(all_projects=True, project_id=project_id)
        return [s.id for s in servers if s.task_state not in (None, "scheduling")]

    def fetched(self) -> Delivery:
        deadline_s = time.monotonic() + 20
        while not (found := self.intake.fetch(limit=10)):
            assert time.monotonic() < deadline_s, "no request arrived"
            time.sleep(0.05)
        (delivery,) = found
        return delivery

    def changed(self) -> Change:
        deadline_s = time.monotonic() + 20
        while not (found := self.changes.fetch(limit=10)):
            assert time.monotonic() < deadline_s, "no change arrived"
            time.sleep(0.05)
        (change,) = found
        return change

    def told(self) -> list[tuple[NoticeKind, str]]:
        found = self._notices.fetch(limit=1000)
        self._notices.acknowledge(found)
        return [(notice.kind, notice.server_id) for notice in found]

    def finish_image(self, image_id: str) -> None:
        """Upload it: the fake driver of Nova leaves that out."""
        self.settle()
        image = self.admin.image.get_image(image_id)
        self.admin.image.update_image(image, disk_format="raw", container_format="bare")
        octets = {"Content-Type": "application/octet-stream"}
        self.admin.image.put(f"/images/{image_id}/file", data=b"disk", headers=octets)

    def end_token(self, token: str) -> None:
        """Revoke it: waiting would take as long as a token lives."""
        session = self.admin.session
        url = f"{self.admin.config.get_auth_args()['auth_url']}/auth/tokens"
        session.delete(url, headers={"X-Subject-Token": token})

    def acts_for(self, token: str) -> tuple[str, str]:
        url = f"{self.admin.config.get_auth_args()['auth_url']}/auth/tokens"
        answer = self.admin.session.get(url, headers={"X-Subject-Token": token}).json()["token"]
        return answer["user"]["id"], answer["project"]["id"]

    # --- ports.CloudUser --------------------------------------------------------------------------

    def limit_servers(self, project_id: str, limit: int) -> None:
        self.admin.compute.update_quota_set(project_id, instances=limit, force=True)

    def create_server(
        self,
        *,
        project: str,
        user: str,
        flavor: str,
        name: str,
        metadata: Mapping[str, str],
        count: int,
        **more: object,
    ) -> list[str]:
        cloud = self.as_user(user, project)
        before = {one.id for one in cloud.compute.servers(details=False)}
        from openstack.exceptions import ForbiddenException

        try:
            cloud.compute.create_server(
                name=name,
                flavor_id=self.admin.compute.find_flavor(flavor, ignore_missing=False).id,
                image_id=self.admin.image.find_image("tiny", ignore_missing=False).id,
                networks="none",
                metadata=metadata,
                min_count=count,
                max_count=count,
                **more,
            )
        except ForbiddenException as error:
            raise InvalidInput(str(error)) from error
        return sorted({one.id for one in cloud.compute.servers(details=False)} - before)

    def delete_server_as_user(self, server_id: str) -> None:
        self._owner(server_id).compute.delete_server(server_id)
        deadline_s = time.monotonic() + 60
        while self.compute.servers([server_id]):
            assert time.monotonic() < deadline_s, f"{server_id} is not deleted"
            time.sleep(0.2)

    def resize_server(self, server_id: str, flavor: str) -> None:
        found = self.admin.compute.find_flavor(flavor, ignore_missing=False)
        self._owner(server_id).compute.resize_server(server_id, found)

    def confirm_resize(self, server_id: str) -> None:
        self._owner(server_id).compute.confirm_server_resize(server_id)
        self.settle()

    def revert_resize(self, server_id: str) -> None:
        self._owner(server_id).compute.revert_server_resize(server_id)
        self.settle()

    def unshelve_server(self, server_id: str) -> None:
        self._owner(server_id).compute.unshelve_server(server_id)

    def lock_server(self, server_id: str) -> None:
        self._owner(server_id).compute.lock_server(server_id)

    def unlock_server(self, server_id: str) -> None:
        self._owner(server_id).compute.unlock_server(server_id)

    def last_failure(self, server_id: str) -> str:
        """What `openstack server event show` tells a user of the latest action."""
        compute = self._owner(server_id).compute
        latest = max(compute.server_actions(server_id), key=lambda one: one.start_time)
        url = f"/servers/{server_id}/os-instance-actions/{latest.request_id}"
        shown = compute.get(url, microversion="2.84").json()["instanceAction"]
        return " ".join(str(event["details"]) for event in shown["events"])

    def _owner(self, server_id: str) -> Connection:
        """The first user of the server's project."""
        view = self.show_server(server_id)
        (name,) = [n for n, one in self.project_ids.items() if one == view.project_id]
        return self.as_user(PROJECTS[name][1][0], name)

    def show_server(self, server_id: str) -> ServerView:
        """Return a server; one that was handed over a moment ago may still look as if it waited."""
        found = self.compute.servers([server_id])
        if server_id not in found:
            raise NotFound(f"server {server_id!r} does not exist")
        return found[server_id]

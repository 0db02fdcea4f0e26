"""The clouds that the contract is held against, each with what a test needs to play its user."""

import time

from lab.settings import SECRET
from synergy.core.errors import InvalidInput, NotFound


class EmbeddedUnderTest:
    """The embedded cloud: time passes when the test says so."""

    vcpus = 16

    def __init__(self, world):
        self.nova = self.intake = self.conductor = self.compute = self.user = world.nova
        self.identity = world.engine.identity
        self._clock = world.engine.clock
        self._clock_step = world.engine.clock.at

    @property
    def changes(self):
        return self.nova.changes

    def limit_servers(self, project_id, limit):
        self.nova.set_quota(project_id, {"servers": limit})

    def change_project(self, name, *, tags, enabled):
        project_id = self.identity.find_project(name).project_id
        self.identity.set_tags(project_id, tags)
        self.identity.enable_project(project_id, enabled=enabled)

    def changed(self):
        (change,) = self.changes.fetch(limit=10)
        return change

    def settle(self):
        self._clock.move_to(self._clock_step(self._clock.monotonic_s() + 60))
        self.nova.catch_up()

    def fetched(self):
        (delivery,) = self.intake.fetch(limit=10)
        return delivery

    def told(self):
        return [(n.kind, n.server_id) for n in self.nova.take_notices(1000)]

    def finish_image(self, image_id):
        self.settle()

    def end_token(self, token):
        for _ in range(61):
            self.settle()  # longer than a token lives

    def acts_for(self, token):
        found = self.identity.check_token(token)
        return found.user_id, found.project_id


PROJECTS = {  # name: domain, users, limits
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

    def __init__(self, connect, opened):
        """Connect as anybody; the ports are those that the plugin opens."""
        self._connect, self.admin = connect, connect()
        self.intake = self.conductor = opened.ports["intake"]
        self.compute, self.identity = opened.ports["compute"], opened.ports["identity"]
        self._notices, self.user = opened.ports["notices"], self
        self.changes = opened.ports["changes"]
        self._connections = {}
        self._seed()
        self.intake.manage(frozenset())
        self._notices.on_arrival(lambda: None)
        assert self.intake.wait_ready(20)

    def _seed(self):
        identity, compute = self.admin.identity, self.admin.compute
        for domain in {one[0] for one in PROJECTS.values()} - {"default"}:
            if identity.find_domain(domain) is None:
                identity.create_domain(name=domain)
        member = identity.find_role("member")
        self.project_ids = {}
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

    def as_user(self, user, project):
        key = user, project
        if key not in self._connections:
            self._connections[key] = self._connect(user, project)
        return self._connections[key]

    def change_project(self, name, *, tags, enabled):
        project_id = self.project_ids[name]
        body = {"project": {"tags": tags, "enabled": enabled}}
        self.admin.identity.patch(f"/projects/{project_id}", json=body).raise_for_status()

    def empty(self):
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

    def settle(self):
        """Wait until no server is on its way anywhere, those apart that wait for us."""
        deadline_s, calm = time.monotonic() + 90, 0
        while calm < 3:
            moving = [one for p in self.project_ids.values() for one in self._moving(p)]
            calm = 0 if moving else calm + 1
            assert time.monotonic() < deadline_s, f"still on their way: {moving}"
            time.sleep(0.5)

    def _moving(self, project_id):
        servers = self.admin.compute.servers(all_projects=True, project_id=project_id)
        return [s.id for s in servers if s.task_state not in (None, "scheduling")]

    def fetched(self):
        deadline_s = time.monotonic() + 20
        while not (found := self.intake.fetch(limit=10)):
            assert time.monotonic() < deadline_s, "no request arrived"
            time.sleep(0.05)
        (delivery,) = found
        return delivery

    def changed(self):
        deadline_s = time.monotonic() + 20
        while not (found := self.changes.fetch(limit=10)):
            assert time.monotonic() < deadline_s, "no change arrived"
            time.sleep(0.05)
        (change,) = found
        return change

    def told(self):
        found = self._notices.fetch(limit=1000)
        self._notices.acknowledge(found)
        return [(notice.kind, notice.server_id) for notice in found]

    def finish_image(self, image_id):
        """Upload it: the fake driver of Nova leaves that out."""
        self.settle()
        image = self.admin.image.get_image(image_id)
        self.admin.image.update_image(image, disk_format="raw", container_format="bare")
        octets = {"Content-Type": "application/octet-stream"}
        self.admin.image.put(f"/images/{image_id}/file", data=b"disk", headers=octets)

    def end_token(self, token):
        """Revoke it: waiting would take as long as a token lives."""
        session = self.admin.session
        url = f"{self.admin.config.get_auth_args()['auth_url']}/auth/tokens"
        session.delete(url, headers={"X-Subject-Token": token})

    def acts_for(self, token):
        url = f"{self.admin.config.get_auth_args()['auth_url']}/auth/tokens"
        answer = self.admin.session.get(url, headers={"X-Subject-Token": token}).json()["token"]
        return answer["user"]["id"], answer["project"]["id"]

    # --- ports.CloudUser --------------------------------------------------------------------------

    def limit_servers(self, project_id, limit):
        self.admin.compute.update_quota_set(project_id, instances=limit, force=True)

    def create_server(self, *, project, user, flavor, name, metadata, count, **more):
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

    def delete_server_as_user(self, server_id):
        self._owner(server_id).compute.delete_server(server_id)
        deadline_s = time.monotonic() + 60
        while self.compute.servers([server_id]):
            assert time.monotonic() < deadline_s, f"{server_id} is not deleted"
            time.sleep(0.2)

    def resize_server(self, server_id, flavor):
        found = self.admin.compute.find_flavor(flavor, ignore_missing=False)
        self._owner(server_id).compute.resize_server(server_id, found)

    def confirm_resize(self, server_id):
        self._owner(server_id).compute.confirm_server_resize(server_id)
        self.settle()

    def revert_resize(self, server_id):
        self._owner(server_id).compute.revert_server_resize(server_id)
        self.settle()

    def unshelve_server(self, server_id):
        self._owner(server_id).compute.unshelve_server(server_id)

    def lock_server(self, server_id):
        self._owner(server_id).compute.lock_server(server_id)

    def unlock_server(self, server_id):
        self._owner(server_id).compute.unlock_server(server_id)

    def last_failure(self, server_id):
        """What `openstack server event show` tells a user of the latest action."""
        compute = self._owner(server_id).compute
        latest = max(compute.server_actions(server_id), key=lambda one: one.start_time)
        url = f"/servers/{server_id}/os-instance-actions/{latest.request_id}"
        shown = compute.get(url, microversion="2.84").json()["instanceAction"]
        return " ".join(str(event["details"]) for event in shown["events"])

    def _owner(self, server_id):
        """The first user of the server's project."""
        view = self.show_server(server_id)
        (name,) = [n for n, one in self.project_ids.items() if one == view.project_id]
        return self.as_user(PROJECTS[name][1][0], name)

    def show_server(self, server_id):
        """Return a server; one that was handed over a moment ago may still look as if it waited."""
        found = self.compute.servers([server_id])
        if server_id not in found:
            raise NotFound(f"server {server_id!r} does not exist")
        return found[server_id]

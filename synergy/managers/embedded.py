"""Lets a person play the user of the embedded cloud; loaded only there.

Why: the embedded cloud has no API of its own over the network. Must not know how it is built.
"""

from collections.abc import Sequence

from synergy.core.errors import NotFound
from synergy.managers.base import Json, Manager, command
from synergy.ports import CloudUser, Edge, Outages

_NAME = {"type": "string", "minLength": 1, "maxLength": 255}


class EmbeddedManager(Manager):
    """Does to servers what a user would, and lets the cloud fail."""

    name = "embedded"
    stopped_means = "nothing: it only takes commands"

    def __init__(self, cloud_user: CloudUser, edge: Edge, outages: Outages) -> None:
        self._cloud_user, self._edge, self._outages = cloud_user, edge, outages

    @command(
        {
            "project": _NAME,
            "user": _NAME,
            "flavor": _NAME,
            "name": _NAME,
            "count": {"type": "integer", "minimum": 1, "maximum": 1000},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        required=["project", "user", "flavor"],
    )
    def do_create_server(
        self,
        project: str,
        user: str,
        flavor: str,
        name: str = "server",
        count: int = 1,
        metadata: dict[str, str] | None = None,
    ) -> Json:
        """Ask for servers as `openstack server create` does."""
        return self._cloud_user.create_server(
            project=project,
            user=user,
            flavor=flavor,
            name=name,
            metadata=metadata or {},
            count=count,
        )

    @command({"server_id": _NAME}, required=["server_id"])
    def do_delete_server(self, server_id: str) -> Json:
        """Delete a server as its user would."""
        self._cloud_user.delete_server_as_user(server_id)
        return {"deleted": server_id}

    @command(
        {"server_ids": {"type": "array", "items": _NAME, "maxItems": 1000}},
        required=["server_ids"],
    )
    def do_delete_servers(self, server_ids: Sequence[str]) -> Json:
        """Delete many servers as their users would; the answer lists those already gone."""
        gone = []
        for server_id in server_ids:
            try:
                self._cloud_user.delete_server_as_user(server_id)
            except NotFound:
                gone.append(server_id)
        return {"deleted": [one for one in server_ids if one not in gone], "gone": gone}

    @command({"server_id": _NAME, "flavor": _NAME}, required=["server_id", "flavor"])
    def do_resize_server(self, server_id: str, flavor: str) -> Json:
        """Resize a server to another flavor; the resize then has to be confirmed."""
        self._cloud_user.resize_server(server_id, flavor)
        return {"resizing": server_id}

    @command({"server_id": _NAME}, required=["server_id"])
    def do_confirm_resize(self, server_id: str) -> Json:
        """Keep the new flavor of a resized server."""
        self._cloud_user.confirm_resize(server_id)
        return {"resized": server_id}

    @command({"nova": {"type": "boolean"}, "keystone": {"type": "boolean"}})
    def do_set_down(self, nova: bool = False, keystone: bool = False) -> Json:
        """Make Nova's API or Keystone stop answering; without arguments both answer again."""
        self._outages.set_down(nova=nova, keystone=keystone)
        return {"nova": nova, "keystone": keystone}

    @command({"server_id": _NAME}, required=["server_id"])
    def do_show_server(self, server_id: str) -> Json:
        """Show a server as Nova shows it."""
        view = self._cloud_user.show_server(server_id)
        shown: dict[str, object] = {
            "id": view.server_id,
            "name": view.name,
            "status": view.status.value,
            "host": view.host,
            "fault": view.fault,
        }
        return shown

    @command(
        {"body": {"type": "string", "maxLength": 16 * 2**20}, "message_id": _NAME},
        required=["body", "message_id"],
    )
    def do_publish(self, body: str, message_id: str) -> Json:
        """Put any message where nova-api puts its build requests, as a faulty client might."""
        self._edge.publish(message_id, body.encode(errors="surrogatepass"))
        return {"published": message_id}

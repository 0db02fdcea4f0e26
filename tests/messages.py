"""Real messages of Nova, and ways to spoil one field of them at a time."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from synergy.drivers import nova_message
from synergy.drivers.message_schema import DATA
from tests.builders import NOON, rid

CONTEXT = {
    "user_id": "user-A", "user_name": "alice", "project_id": "project-A", "project_name": "A",
    "roles": ["member"], "auth_token": "secret-token",
}  # fmt: skip
FLAVOR = {
    "name": "small", "vcpus": 1, "memory_mb": 256, "root_gb": 0, "ephemeral_gb": 0, "swap": 0,
    "extra_specs": {"hw:cpu_policy": "shared"},
}  # fmt: skip
Path = tuple[str | int, ...]
SURROGATE = "\ud800"
ODD_VALUES: tuple[Any, ...] = (
    "not-a-uuid", "a" * 5000, 5, -4, 10**30, 1.5, True, [], ["x"], {}, {"a": 1}, SURROGATE,
    "a\0b", "", "0001-01-01T00:00:00+23:00", [[{"a": 1}]], {SURROGATE: "\0"}, "9" * 5000,
)  # fmt: skip


def build_message(
    ids: Sequence[str] = (rid(1),), *, context: Mapping[str, Any] = CONTEXT, **more: Any
) -> dict[str, Any]:
    """Return the inside of a build message, as nova-api sends it."""
    values: dict[str, Any] = {
        "context": context,
        "servers": [(one, "server") for one in ids],
        "flavor": FLAVOR,
        "metadata": {"quota": "shared"},
        "created_at": NOON,
        "unique_id": f"{abs(hash(tuple(ids))):032x}",
        "availability_zone": "nova",
        "server_group": "group",
    }
    message = inside_of(nova_message.compose(**(values | more)))
    for spec in message["args"]["request_specs"]:
        properties = {"traits_required": ["HW_CPU_X86_VMX"]}
        spec[DATA]["image"] = primitive({"properties": primitive(properties)})
    return message


def change_message(
    method: str = "migrate_server",
    server_id: str = rid(1),
    *,
    project_id: str = "project-A",
    **more: Any,
) -> dict[str, Any]:
    """Return the inside of a resize or unshelve."""
    return {
        "method": method,
        "namespace": "compute_task",
        "version": "1.25",
        "_unique_id": "c" * 32,
        "_context_project_id": project_id,
        "args": {
            "instance": primitive(
                {"uuid": server_id, "project_id": project_id, "image_ref": "i", "host": "node1"}
            ),
            "flavor": primitive(FLAVOR | {"name": "medium", "vcpus": 2}),
            "request_spec": primitive({"is_bfv": False, "flavor": primitive(FLAVOR)}),
        },
    } | more


def notification_message(
    event: str = "instance.create.end", server_id: str = rid(1), **payload: Any
) -> dict[str, Any]:
    """Return the inside of a versioned notification."""
    return {
        "event_type": event,
        "message_id": "m" * 32,
        "timestamp": "2026-01-01 12:00:00.5",
        "publisher_id": "nova-compute:node1",
        "priority": "INFO",
        "payload": primitive({"uuid": server_id, "host": "node1", **payload}),
    }


def legacy_message(
    event: str = "compute.instance.create.end", server_id: str = rid(1)
) -> dict[str, Any]:
    """Return the inside of an unversioned notification."""
    return notification_message() | {
        "event_type": event,
        "payload": {"instance_id": server_id, "host": "node1", "message": "Success"},
    }


def primitive(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"nova_object.name": "N", "nova_object.version": "1.0", DATA: dict(data)}


def enveloped(message: Any) -> bytes:
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def inside_of(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.loads(body)["oslo.message"])
    return found


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    """Walk every node of a message."""
    if before:
        yield before
    if isinstance(value, dict):
        for key, one in value.items():
            yield from paths(one, (*before, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from paths(one, (*before, number))


def spoiled(message: Any, path: Path, change: Callable[[Any, str | int], None]) -> Any:
    """Return a copy of a message in which the holder of a node was changed."""
    found = copy.deepcopy(message)
    holder = found
    for step in path[:-1]:
        holder = holder[step]
    change(holder, path[-1])
    return found


def replaced(message: Any, path: Path, value: Any) -> Any:
    return spoiled(message, path, lambda holder, key: holder.__setitem__(key, value))


def without(message: Any, path: Path) -> Any:
    return spoiled(message, path, lambda holder, key: holder.__delitem__(key))

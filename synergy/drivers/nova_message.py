"""Reads and rewrites the one message that Synergy understands: schedule_and_build_instances.

Everything else passes untouched, so only this shape is known here: the oslo.messaging envelope, a
flat request context, and `nova_object` primitives. Must not know AMQP. What is relied on was
observed on Nova 34 (method version 1.17); fields that are not needed are carried, not read.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from synergy.core.errors import InvalidInput
from synergy.core.model import (
    AVAILABILITY_ZONE,
    RESOURCE_CLASS,
    SERVER_GROUP,
    TRAIT,
    BuildFailure,
    Constraints,
    Resources,
)
from synergy.drivers.envelope import Opened, open_body
from synergy.ports import BuildRequest, Change, ChangeKind, Credentials, Delivery

METHOD: Final = "schedule_and_build_instances"
NAMESPACE: Final = "compute_task"
VERSION: Final = "1.17"
CHANGES: Final = {"migrate_server": ChangeKind.RESIZE, "unshelve_instance": ChangeKind.UNSHELVE}
_DATA: Final = "nova_object.data"
_USER_DATA_QUOTA: Final = re.compile(r"^\s*quota\s*=\s*(shared|private)\s*$", re.MULTILINE)
_LONGEST_FAULT: Final = 200  # Nova cuts a fault at 255 characters, its own words included
# One list entry for each server; the others belong to all servers of the message.
_PER_SERVER: Final = ("build_requests", "request_specs", "block_device_mapping", "tags")


def read(message_id: str, body: bytes) -> Delivery:
    """Return the requests of a message, one for each server, or why it cannot be read."""
    try:
        return read_opened(message_id, open_body(body))
    except InvalidInput as error:
        return Delivery(
            message_id=message_id, body=body, unreadable=f"not a build request of Nova: {error}"
        )


def read_opened(message_id: str, opened: Opened) -> Delivery:
    """Return the requests of a message that was opened already."""
    unreadable = ""
    try:
        requests = tuple(_split(opened))
        if requests:
            return Delivery(message_id=message_id, body=opened.body, requests=requests)
        unreadable = "it asks for no server"
    except InvalidInput as error:
        unreadable = str(error)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        what = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
        unreadable = f"not a build request of Nova: {what}"
    return Delivery(message_id=message_id, body=opened.body, unreadable=unreadable)


def _split(message: Opened) -> list[BuildRequest]:
    inner, args = message.message, message.message["args"]
    if inner.get("method") != METHOD:
        raise InvalidInput(f"method is {inner.get('method')!r}, not {METHOD!r}")
    count = len(args["request_specs"])
    if len(args["build_requests"]) != count:
        raise InvalidInput(
            f"{count} request_specs but {len(args['build_requests'])} build_requests"
        )
    return [_one(message, position, count) for position in range(count)]


def _one(message: Opened, position: int, count: int) -> BuildRequest:
    inner, args = message.message, message.message["args"]
    spec = args["request_specs"][position][_DATA]
    instance = args["build_requests"][position][_DATA]["instance"][_DATA]
    flavor = spec["flavor"][_DATA]
    server_id = spec["instance_uuid"]
    if instance["uuid"] != server_id:
        raise InvalidInput(f"request_specs and build_requests disagree about server {server_id!r}")
    extra_specs = {str(k): str(v) for k, v in (flavor.get("extra_specs") or {}).items()}
    return BuildRequest(
        server_id=server_id,
        project_id=spec["project_id"],
        user_id=spec.get("user_id") or inner["_context_user_id"],
        user_name=inner.get("_context_user_name") or "",
        server_name=instance.get("display_name") or "",
        flavor=flavor["name"],
        demand=demand_of(flavor, extra_specs, boots_from_volume=bool(spec.get("is_bfv"))),
        created_at=_instant(instance["created_at"]),
        body=_single(message, position, count),
        batch_id=instance.get("reservation_id"),
        metadata={str(k): str(v) for k, v in (instance.get("metadata") or {}).items()},
        extra_specs=extra_specs,
        constraints=constraints_of(spec),
        user_data_quota=_quota_in_user_data(instance.get("user_data")),
    )


def read_change(opened: Opened) -> Change | None:
    """Return the resize or unshelve that a message asks for, None when it is neither.

    Raises InvalidInput when it is not what Nova sends.
    """
    kind = CHANGES.get(str(opened.message.get("method")))
    if kind is None:
        return None
    try:
        args = opened.message["args"]
        instance, spec = args["instance"][_DATA], args["request_spec"][_DATA]
        flavor = (args["flavor"] if kind is ChangeKind.RESIZE else spec["flavor"])[_DATA]
        boots_from_volume = bool(spec.get("is_bfv")) or not instance.get("image_ref")
        extra_specs = {str(k): str(v) for k, v in (flavor.get("extra_specs") or {}).items()}
        return Change(
            message_id=str(opened.message.get("_unique_id")),
            kind=kind,
            server_id=instance["uuid"],
            project_id=instance["project_id"],
            flavor=flavor["name"],
            demand=demand_of(flavor, extra_specs, boots_from_volume=boots_from_volume),
            body=opened.body,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"not what Nova sends: {type(error).__name__} {error}") from error


def demand_of(
    flavor: Mapping[str, Any], extra_specs: Mapping[str, str], *, boots_from_volume: bool
) -> Resources:
    """Return what Placement will be asked for: the flavor, and `resources:CLASS` extra specs."""
    local_gb = int(flavor.get("ephemeral_gb") or 0) + -(-int(flavor.get("swap") or 0) // 1024)
    amounts: dict[str, object] = {
        "VCPU": int(flavor["vcpus"]),
        "MEMORY_MB": int(flavor["memory_mb"]),
        "DISK_GB": local_gb + (0 if boots_from_volume else int(flavor.get("root_gb") or 0)),
    }
    for key, value in extra_specs.items():
        name = key.removeprefix("resources:")
        if name != key and RESOURCE_CLASS.fullmatch(name):
            amounts[name] = int(value)
    return Resources.demand(amounts, of=f"flavor {flavor.get('name')!r}")


def constraints_of(spec: Mapping[str, Any]) -> Constraints:
    """Return what binds the choice of a host: a zone, a server group, the traits of flavor and
    image.

    Traits of numbered groups (`trait1:...`) go with the resources of their group; both are left to
    Nova.
    """
    found = {TRAIT + name: "required" for name in _image_traits(spec)}
    extra_specs = spec["flavor"][_DATA].get("extra_specs") or {}
    found |= {
        key: value
        for key, value in extra_specs.items()
        if key.startswith(TRAIT) and value in ("required", "forbidden")
    }
    if spec.get("availability_zone"):
        found[AVAILABILITY_ZONE] = str(spec["availability_zone"])
    groups = (spec.get("scheduler_hints") or {}).get("group") or ()
    if groups:
        found[SERVER_GROUP] = groups if isinstance(groups, str) else str(groups[0])
    return tuple(sorted(found.items()))


def _image_traits(spec: Mapping[str, Any]) -> Sequence[str]:
    image = (spec.get("image") or {}).get(_DATA) or {}
    properties = (image.get("properties") or {}).get(_DATA) or {}
    return properties.get("traits_required") or ()


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _quota_in_user_data(encoded: str | None) -> str | None:
    if not encoded:
        return None
    try:
        found = _USER_DATA_QUOTA.search(base64.b64decode(encoded).decode(errors="replace"))
    except ValueError:
        return None
    return found.group(1) if found else None


def _single(message: Opened, position: int, count: int) -> bytes:
    """Return the message for one of its servers only; verbatim when it has just one."""
    if count == 1:
        return message.body
    args = dict(message.message["args"])
    for name in _PER_SERVER:
        values = args.get(name)
        if isinstance(values, list) and len(values) == count:
            args[name] = [values[position]]
    spec = copy(args["request_specs"][0])
    spec[_DATA] = {**spec[_DATA], "num_instances": 1}
    args["request_specs"] = [spec]
    unique = f"{message.message.get('_unique_id', '')}-{position}"
    return message.closed(args=args, _unique_id=unique)


def failure_of(fault: str) -> BuildFailure:
    """Return what a fault says of a failed build: Nova's API and its legacy notifications name no
    exception, so its own words are all there is."""
    if "maximum number of retries" in fault:
        return BuildFailure.RETRIES_EXHAUSTED
    if "No valid host" in fault:
        return BuildFailure.NO_VALID_HOST
    return BuildFailure.BUILD_ERROR


def refused(body: bytes, reason: str) -> bytes:
    """Return the message so that Nova ends the server with `reason` as its fault."""
    message = open_body(body)
    text = f"(none) Synergy rejected this request: {reason}"[:_LONGEST_FAULT]
    specs = [
        {**spec, _DATA: {**spec[_DATA], "force_hosts": [text]}}
        for spec in message.message["args"]["request_specs"]
    ]
    return message.closed(args={**message.message["args"], "request_specs": specs})


def refused_change(body: bytes, reason: str) -> bytes:
    """Return a resize or unshelve that Nova gives up at once, with `reason` in the event that its
    user reads; the server stays as it is.

    An unshelve asks for a host that does not exist. Nova has words of its own for a resize that
    finds no host, but tells what it misses when the host that the server is said to be on does not
    exist; nothing of that is saved.
    """
    message = open_body(body)
    text = f"(none) Synergy rejected this request: {reason}"[:_LONGEST_FAULT]
    args = dict(message.message["args"])
    if message.message["method"] == "unshelve_instance":
        nowhere = _object("Destination", "1.4", {"host": text, "node": None})
        spec = args["request_spec"]
        args["request_spec"] = {**spec, _DATA: {**spec[_DATA], "requested_destination": nowhere}}
    else:
        server = args["instance"]
        args["instance"] = {**server, _DATA: {**server[_DATA], "host": text}}
    return message.closed(args=args)


def credentials_of(body: bytes) -> Credentials:
    """Return the token and roles in a message's context."""
    return _credentials(open_body(body).message)


def _credentials(inner: Mapping[str, Any]) -> Credentials:
    token, roles = inner.get("_context_auth_token") or "", inner.get("_context_roles") or ()
    return Credentials(str(token), tuple(str(role) for role in roles))


@dataclass(frozen=True, slots=True)
class Order:
    """What a conductor reads of a build message."""

    server_ids: tuple[str, ...]
    constraints: Constraints
    forced_host: str | None
    token: str


def order_of(body: bytes) -> Order:
    """Return what a conductor reads of a message."""
    message = open_body(body)
    specs = [spec[_DATA] for spec in message.message["args"]["request_specs"]]
    hosts = specs[0].get("force_hosts")
    return Order(
        server_ids=tuple(spec["instance_uuid"] for spec in specs),
        constraints=constraints_of(specs[0]),
        forced_host=str(hosts[0]) if hosts else None,
        token=_credentials(message.message).token,
    )


def compose(
    *,
    context: Mapping[str, Any],
    servers: Sequence[tuple[str, str]],
    flavor: Mapping[str, Any],
    metadata: Mapping[str, str],
    created_at: datetime,
    unique_id: str,
    availability_zone: str | None = None,
    server_group: str | None = None,
) -> bytes:
    """Return a build message as nova-api sends it, for (server id, name) pairs.

    context  user_id, user_name, project_id, project_name, roles, auth_token
    flavor   name, vcpus, memory_mb, root_gb, ephemeral_gb, swap, extra_specs
    """
    project_id, user_id = context["project_id"], context["user_id"]
    instances = [
        {
            "uuid": server_id,
            "display_name": name,
            "reservation_id": f"r-{unique_id[:8]}",
            "created_at": created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "metadata": dict(metadata),
            "user_data": None,
        }
        for server_id, name in servers
    ]
    specs = [
        {
            "instance_uuid": server_id,
            "project_id": project_id,
            "user_id": user_id,
            "flavor": _object("Flavor", "1.2", flavor),
            "availability_zone": availability_zone,
            "scheduler_hints": {"group": [server_group]} if server_group else {},
            "num_instances": len(servers),
            "is_bfv": False,
        }
        for server_id, _ in servers
    ]
    args = {
        "build_requests": [
            _object("BuildRequest", "1.3", {"instance": _object("Instance", "2.8", instance)})
            for instance in instances
        ],
        "request_specs": [_object("RequestSpec", "1.15", spec) for spec in specs],
        "image": {},
        "admin_password": f"secret-{unique_id[-8:]}",
        "injected_files": [],
    }
    inner = {
        "method": METHOD,
        "namespace": NAMESPACE,
        "version": VERSION,
        "args": args,
        "_unique_id": unique_id,
        **{f"_context_{name}": value for name, value in context.items()},
    }
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(inner)}).encode()


def _object(name: str, version: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        _DATA: dict(data),
    }

"""Reads and rewrites Nova's build message, schedule_and_build_instances, and its resize and
unshelve.

All other messages pass untouched, so only these shapes are known here: the oslo.messaging envelope,
a flat request context, and `nova_object` primitives. Must not know AMQP. The code relies on what
was observed on Nova 34 (method version 1.17); fields that are not needed are carried along unread.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from synergy.core.declared.kinds import RESOURCE_CLASS
from synergy.core.errors import InvalidInput
from synergy.core.model import (
    AVAILABILITY_ZONE,
    SERVER_GROUP,
    TRAIT,
    BuildFailure,
    Constraints,
    Resources,
)
from synergy.drivers import message_schema
from synergy.drivers.envelope import Envelope, open_body
from synergy.drivers.message_schema import DATA, object_at, read_fields, shown, usable_fields
from synergy.ports import BuildRequest, Change, ChangeKind, Credentials, Delivery

METHOD: Final = "schedule_and_build_instances"
NAMESPACE: Final = "compute_task"
VERSION: Final = "1.17"
CHANGES: Final = {"migrate_server": ChangeKind.RESIZE, "unshelve_instance": ChangeKind.UNSHELVE}
_USERDATA_QUOTA: Final = re.compile(r"^\s*quota\s*=\s*(shared|private)\s*$", re.MULTILINE)
_MAX_FAULT_CHARS: Final = 200  # Nova cuts a fault at 255 characters, including its own text
_MAX_WHY_CHARS: Final = 300
_MAX_BODY_BYTES: Final = 8 * 2**20  # databases refuse a statement that is much longer
_MAX_CLASSES: Final = 128  # resource classes of one flavor
_AMOUNT: Final = re.compile(r"[0-9]{1,16}")
# Lists with one entry per server; all other arguments belong to every server of the message.
_PER_SERVER: Final = ("build_requests", "request_specs", "block_device_mapping", "tags")


def read(message_id: str, body: bytes) -> Delivery:
    """Return the requests of a message, one for each server, or why it cannot be read."""
    try:
        return read_opened(message_id, open_body(body))
    except InvalidInput as error:
        return unreadable(message_id, body, f"not a build request of Nova: {error}")


def read_opened(message_id: str, opened: Envelope) -> Delivery:
    """Return the requests of a message that was opened already."""
    try:
        requests = _split(opened)
    except InvalidInput as error:
        return unreadable(message_id, opened.body, f"not a build request of Nova: {error}")
    return Delivery(message_id=message_id, body=opened.body, requests=requests)


def unreadable(message_id: str, body: bytes, why: str) -> Delivery:
    """Return a delivery that will be set aside, with the reason."""
    return Delivery(message_id=message_id, body=body, unreadable=why[:_MAX_WHY_CHARS])


def servers_of(opened: Envelope) -> frozenset[str]:
    """Return the servers that a build message asks for, none if one of them cannot be read."""
    try:
        args = object_at(opened.message, "args", of="the message")
        return frozenset(
            read_fields(
                message_schema.SERVER, object_at(spec, DATA, of="request spec"), "request spec"
            )["instance_uuid"]
            for spec in _list(args, "request_specs")
        )
    except InvalidInput:
        return frozenset()


def message_id_of(opened: Envelope, unique_id: str | None) -> str:
    """Return the id of a message, which is the same when the broker redelivers it."""
    return unique_id or hashlib.sha256(opened.body).hexdigest()


def _split(message: Envelope) -> tuple[BuildRequest, ...]:
    inner = message.message
    if inner.get("method") != METHOD:
        raise InvalidInput(f"method is {shown(inner.get('method'))}, not {METHOD!r}")
    if len(message.body) > _MAX_BODY_BYTES:
        raise InvalidInput(
            f"it has {len(message.body):,} bytes, but must have at most {_MAX_BODY_BYTES:,}"
        )
    args = object_at(inner, "args", of="the message")
    specs, builds = _list(args, "request_specs"), _list(args, "build_requests")
    if len(builds) != len(specs):
        raise InvalidInput(f"{len(specs)} request_specs but {len(builds)} build_requests")
    if not specs:
        raise InvalidInput("it requests no server")
    context = read_fields(message_schema.CONTEXT, inner, "context")
    requests = tuple(
        _build_request(message, context, specs, builds, position) for position in range(len(specs))
    )
    if len({request.server_id for request in requests}) != len(requests):
        raise InvalidInput("it requests the same server twice")
    return requests


def _list(args: Mapping[str, object], name: str) -> list[Any]:
    if name not in args:
        raise InvalidInput(f"args: there is no {name!r}")
    found = args[name]
    if not isinstance(found, list):
        raise InvalidInput(f"args: {name} is {shown(found)}, but must be a list")
    return found


def _build_request(
    message: Envelope,
    context: Mapping[str, Any],
    specs: Sequence[object],
    builds: Sequence[object],
    position: int,
) -> BuildRequest:
    raw_spec = object_at(specs[position], DATA, of="request spec")
    spec = read_fields(message_schema.REQUEST_SPEC, raw_spec, "request spec")
    instance = read_fields(
        message_schema.NEW_INSTANCE,
        object_at(builds[position], DATA, "instance", DATA, of="build request"),
        "instance",
    )
    if instance["uuid"] != spec["instance_uuid"]:
        raise InvalidInput(
            f"request_specs and build_requests disagree about server {spec['instance_uuid']}"
        )
    user_id = spec["user_id"] or context["_context_user_id"]
    if user_id is None:
        raise InvalidInput("request spec: there is no 'user_id'")
    flavor = _flavor_of(raw_spec)
    return BuildRequest(
        server_id=spec["instance_uuid"],
        project_id=spec["project_id"],
        user_id=user_id,
        user_name=context["_context_user_name"],
        server_name=instance["display_name"],
        flavor=flavor["name"],
        demand=demand_of(flavor, flavor["extra_specs"], boots_from_volume=spec["is_bfv"]),
        created_at=instance["created_at"],
        body=_body_of_one(message, position, len(specs)),
        batch_id=instance["reservation_id"],
        metadata=instance["metadata"],
        extra_specs=flavor["extra_specs"],
        constraints=constraints_of(raw_spec, flavor["extra_specs"]),
        user_data_quota=_quota_in_user_data(instance["user_data"]),
    )


def _flavor_of(spec: Mapping[str, object]) -> dict[str, Any]:
    return read_fields(
        message_schema.FLAVOR, object_at(spec, "flavor", DATA, of="request spec"), "flavor"
    )


def changed_project(opened: Envelope) -> str | None:
    """Return the project of the server that a message would change, as far as it can be read.

    It need not be the caller's project: an administrator may change a server of any project.
    """
    try:
        instance = object_at(opened.message, "args", "instance", DATA, of="the message")
    except InvalidInput:
        return None
    found = usable_fields(message_schema.OWNER, instance)["project_id"]
    return str(found) if found else None


def read_change(opened: Envelope, unique_id: str | None) -> Change:
    """Return the resize or unshelve that a message asks for. Raises InvalidInput."""
    method = opened.message.get("method")
    kind = CHANGES.get(method) if isinstance(method, str) else None
    if kind is None:
        raise InvalidInput(f"method is {shown(method)}, none of {', '.join(CHANGES)}")
    args = object_at(opened.message, "args", of="the message")
    raw_spec = object_at(args, "request_spec", DATA, of="args")
    spec = read_fields(message_schema.SHAPE, raw_spec, "request spec")
    instance = read_fields(
        message_schema.CHANGED_INSTANCE, object_at(args, "instance", DATA, of="args"), "instance"
    )
    flavor = _flavor_of(args if kind is ChangeKind.RESIZE else raw_spec)
    return Change(
        message_id=message_id_of(opened, unique_id),
        kind=kind,
        server_id=instance["uuid"],
        project_id=instance["project_id"],
        flavor=flavor["name"],
        demand=demand_of(
            flavor,
            flavor["extra_specs"],
            boots_from_volume=spec["is_bfv"] or not instance["image_ref"],
        ),
        body=opened.body,
    )


def demand_of(
    flavor: Mapping[str, Any], extra_specs: Mapping[str, str], *, boots_from_volume: bool
) -> Resources:
    """Return what Nova will request from Placement: the flavor and its `resources:CLASS` extra
    specs."""
    local_gb = flavor["ephemeral_gb"] + -(-flavor["swap"] // 1024)
    amounts: dict[str, object] = {
        "VCPU": flavor["vcpus"],
        "MEMORY_MB": flavor["memory_mb"],
        "DISK_GB": local_gb + (0 if boots_from_volume else flavor["root_gb"]),
    }
    for key, value in extra_specs.items():
        name = key.removeprefix("resources:")
        if name != key and RESOURCE_CLASS.fullmatch(name):
            if not _AMOUNT.fullmatch(value):
                raise InvalidInput(
                    f"flavor: {shown(key)} is {shown(value)}, but must be an integer from 0 to "
                    "2^53 - 1"
                )
            amounts[name] = int(value)
    if len(amounts) > _MAX_CLASSES:
        raise InvalidInput(
            f"flavor: it requests {len(amounts)} resource classes, but must request at most "
            f"{_MAX_CLASSES}"
        )
    return Resources.demand(amounts, of=f"flavor {shown(flavor['name'])}")


def constraints_of(spec: Mapping[str, object], extra_specs: Mapping[str, str]) -> Constraints:
    """Return what restricts the choice of a host: a zone, a server group, the traits of flavor and
        image. Raises InvalidInput.

    Traits of numbered groups (`trait1:...`) go with the resources of their group; both are left to
    Nova.
    """
    found = {TRAIT + name: "required" for name in _image_traits(spec)}
    for key, value in extra_specs.items():
        if key.startswith(TRAIT) and value in ("required", "forbidden"):
            if not message_schema.TRAIT_NAME.fullmatch(key.removeprefix(TRAIT)):
                raise InvalidInput(
                    f"flavor: {shown(key)} names no trait such as HW_CPU_X86_VMX, so no host can "
                    "have it: correct the extra spec of the flavor"
                )
            found[key] = value
    placement = read_fields(message_schema.PLACEMENT, spec, "request spec")
    if placement["availability_zone"]:
        found[AVAILABILITY_ZONE] = placement["availability_zone"]
    if spec.get("scheduler_hints"):
        hints = read_fields(message_schema.HINTS, spec["scheduler_hints"], "scheduler_hints")
        if hints["group"]:
            found[SERVER_GROUP] = hints["group"][0]
    return tuple(sorted(found.items()))


def _image_traits(spec: Mapping[str, object]) -> Sequence[str]:
    if not spec.get("image"):
        return ()
    image = object_at(spec["image"], of="image").get(DATA) or {}
    if not object_at(image, of="image").get("properties"):
        return ()
    properties = object_at(image["properties"], DATA, of="image properties")
    found = read_fields(message_schema.IMAGE_PROPERTIES, properties, "image properties")
    return tuple(found["traits_required"])


def _quota_in_user_data(encoded: str | None) -> str | None:
    if not encoded:
        return None
    try:
        found = _USERDATA_QUOTA.search(base64.b64decode(encoded).decode(errors="replace"))
    except ValueError:
        return None
    return found.group(1) if found else None


def _body_of_one(message: Envelope, position: int, count: int) -> bytes:
    """Return the message for just one of its servers; unchanged when it has only one."""
    if count == 1:
        return message.body
    args = dict(message.message["args"])
    for name in _PER_SERVER:
        values = args.get(name)
        if isinstance(values, list) and len(values) == count:
            args[name] = [values[position]]
    spec = copy(args["request_specs"][0])
    spec[DATA] = {**spec[DATA], "num_instances": 1}
    args["request_specs"] = [spec]
    unique = f"{message.message.get('_unique_id', '')}-{position}"
    return message.with_changes(args=args, _unique_id=unique)


def failure_of(fault: str) -> BuildFailure:
    """Classify a failed build by the text of its fault: Nova's API and its legacy notifications do
    not name the exception."""
    if "maximum number of retries" in fault:
        return BuildFailure.RETRIES_EXHAUSTED
    if "No valid host" in fault:
        return BuildFailure.NO_VALID_HOST
    return BuildFailure.BUILD_ERROR


def refused(body: bytes, reason: str) -> bytes:
    """Return the message changed so that Nova puts the server in ERROR with `reason` as its
    fault."""
    message = open_body(body)
    text = f"(none) Synergy rejected this request: {reason}"[:_MAX_FAULT_CHARS]
    args = object_at(message.message, "args", of="the message")
    specs = [
        {**spec, DATA: {**object_at(spec, DATA, of="request spec"), "force_hosts": [text]}}
        for spec in _list(args, "request_specs")
    ]
    return message.with_changes(args={**args, "request_specs": specs})


def refused_change(body: bytes, reason: str) -> bytes:
    """Return a resize or unshelve changed so that Nova gives it up at once, with `reason` in the
    event that its user reads; the server stays as it is.

    An unshelve requests a host that does not exist, and Nova's error names that host. For a resize
    without a host Nova has a fixed text, so there the instance itself is given a current host that
    does not exist, which Nova's error names too; Nova saves none of that.
    """
    message = open_body(body)
    text = f"(none) Synergy rejected this request: {reason}"[:_MAX_FAULT_CHARS]
    args = dict(message.message["args"])
    if message.message["method"] == "unshelve_instance":
        nowhere = _object("Destination", "1.4", {"host": text, "node": None})
        spec = args["request_spec"]
        args["request_spec"] = {**spec, DATA: {**spec[DATA], "requested_destination": nowhere}}
    else:
        server = args["instance"]
        args["instance"] = {**server, DATA: {**server[DATA], "host": text}}
    return message.with_changes(args=args)


def credentials_of(body: bytes) -> Credentials:
    """Return the token and roles in a message's context. Raises InvalidInput."""
    return _credentials(open_body(body).message)


def _credentials(inner: Mapping[str, object]) -> Credentials:
    context = read_fields(message_schema.CONTEXT, inner, "context")
    return Credentials(context["_context_auth_token"], context["_context_roles"])


@dataclass(frozen=True, slots=True)
class Order:
    """What the embedded conductor reads of a build message."""

    server_ids: tuple[str, ...]
    constraints: Constraints
    forced_host: str | None
    token: str


def order_of(body: bytes) -> Order:
    """Return what the embedded conductor needs of a message. Raises InvalidInput."""
    message = open_body(body)
    args = object_at(message.message, "args", of="the message")
    specs = [object_at(spec, DATA, of="request spec") for spec in _list(args, "request_specs")]
    if not specs:
        raise InvalidInput("it requests no server")
    hosts = specs[0].get("force_hosts")
    return Order(
        server_ids=tuple(
            read_fields(message_schema.SERVER, spec, "request spec")["instance_uuid"]
            for spec in specs
        ),
        constraints=constraints_of(specs[0], _flavor_of(specs[0])["extra_specs"]),
        forced_host=str(hosts[0]) if hosts else None,
        token=_credentials(message.message).token,
    )


def compose(
    *,
    context: Mapping[str, object],
    servers: Sequence[tuple[str, str]],
    flavor: Mapping[str, object],
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


def _object(name: str, version: str, data: Mapping[str, object]) -> dict[str, object]:
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        DATA: dict(data),
    }

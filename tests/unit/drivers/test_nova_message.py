import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from synergy.core.model import Resources
from synergy.drivers import nova_message
from tests import messages
from tests.builders import NOON, rid

CONTEXT = {
    "user_id": "u", "user_name": "alice", "project_id": "p", "project_name": "science",
    "roles": ["member"], "auth_token": "secret-token",
}  # fmt: skip
FLAVOR = {
    "name": "f", "vcpus": 2, "memory_mb": 100, "root_gb": 5, "ephemeral_gb": 1, "swap": 1025,
    "extra_specs": {"resources:CUSTOM_FPGA": "1", "hw:x": "y"},
}  # fmt: skip


ONE = ((rid(1), "one"),)


def body(
    servers: tuple[tuple[str, str]] | Sequence[tuple[str, str]] = ONE,
    flavor: Mapping[str, Any] = FLAVOR,
) -> bytes:
    return nova_message.compose(
        context=CONTEXT, servers=list(servers), flavor=flavor, metadata={"quota": "shared"},
        created_at=NOON, unique_id="0" * 32,
    )  # fmt: skip


def changed(change: Callable[..., Any]) -> bytes:
    envelope = json.loads(body())
    inner = json.loads(envelope["oslo.message"])
    change(inner)
    return json.dumps({**envelope, "oslo.message": json.dumps(inner)}).encode()


def test_a_message_is_read_as_nova_sends_it() -> None:
    (found,) = nova_message.read("m", body()).requests
    assert (found.server_id, found.project_id, found.user_name) == (rid(1), "p", "alice")
    assert found.created_at == NOON
    assert found.demand == Resources.of(VCPU=2, MEMORY_MB=100, DISK_GB=8, CUSTOM_FPGA=1)


def test_what_binds_the_choice_of_a_host_is_read() -> None:
    def change(inner: Mapping[str, Any]) -> None:
        spec = inner["args"]["request_specs"][0]["nova_object.data"]
        spec["availability_zone"] = "az1"
        spec["scheduler_hints"] = {"group": ["g1"], "query": ["[]"]}
        spec["flavor"]["nova_object.data"]["extra_specs"] = {
            "trait:CUSTOM_SSD": "required", "trait:CUSTOM_OLD": "forbidden", "trait:CUSTOM_X": "?",
            "trait1:CUSTOM_NIC": "required",
        }  # fmt: skip
        props = {"nova_object.data": {"traits_required": ["HW_CPU_X86_VMX"]}}
        spec["image"] = {"nova_object.data": {"properties": props}}

    (found,) = nova_message.read("m", changed(change)).requests
    assert dict(found.constraints) == {
        "availability_zone": "az1", "server_group": "g1", "trait:CUSTOM_OLD": "forbidden",
        "trait:CUSTOM_SSD": "required", "trait:HW_CPU_X86_VMX": "required",
    }  # fmt: skip
    (plain,) = nova_message.read("m", body()).requests
    assert plain.constraints == ()


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("No valid host was found. There are not enough hosts available.", "no_valid_host"),
        ("Exceeded maximum number of retries. Exhausted all hosts for it.", "retries_exhausted"),
        ("Build of instance 1 aborted: the image is broken", "build_error"),
        ("", "build_error"),
    ],
)  # fmt: skip
def test_a_failed_build_is_told_apart_by_its_fault(fault: str, failure: str) -> None:
    assert nova_message.failure_of(fault) == failure


def test_a_message_of_one_server_is_kept_verbatim() -> None:
    (found,) = nova_message.read("m", body()).requests
    assert found.body == body()


@pytest.mark.parametrize("version", ["1.0", "1.99", "2.0", "nonsense"])
def test_a_message_of_an_unknown_version_is_read_by_its_shape_and_kept_as_it_is(
    version: str,
) -> None:
    def change(inner: dict[str, Any]) -> None:
        inner["version"] = version
        inner["args"]["something_new"] = {"a": 1}

    raw = changed(change)
    (found,) = nova_message.read("m", raw).requests
    assert (found.server_id, found.body) == (rid(1), raw)


def test_a_message_of_several_is_split_into_messages_of_one() -> None:
    delivery = nova_message.read("m", body([(rid(1), "one"), (rid(2), "two")]))
    assert [build.server_id for build in delivery.requests] == [rid(1), rid(2)]
    second = json.loads(json.loads(delivery.requests[1].body)["oslo.message"])
    (spec,) = second["args"]["request_specs"]
    assert spec["nova_object.data"]["instance_uuid"] == rid(2)
    assert spec["nova_object.data"]["num_instances"] == 1
    assert (
        second["_unique_id"]
        != json.loads(json.loads(delivery.requests[0].body)["oslo.message"])["_unique_id"]
    )


def test_no_secret_shows_when_a_message_is_printed() -> None:
    delivery = nova_message.read("m", body())
    printed = repr(delivery) + repr(nova_message.credentials_of(body()))
    assert "secret" not in printed


def test_the_quota_line_of_user_data_is_found() -> None:
    encoded = base64.b64encode(b"#cloud-config\nquota = shared\n").decode()

    def put_in(inner: Mapping[str, Any]) -> None:
        data = inner["args"]["build_requests"][0]["nova_object.data"]["instance"]
        data["nova_object.data"]["user_data"] = encoded

    (found,) = nova_message.read("m", changed(put_in)).requests
    assert found.user_data_quota == "shared"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param(b"\xff\xfe", "not a build request", id="no text"),
        pytest.param(b"[]", "not a build request", id="a list"),
        pytest.param(b"{}", "no 'oslo.message'", id="no envelope"),
        pytest.param(changed(lambda m: m.update(method="other")), "method is 'other'", id="another method"),
        pytest.param(changed(lambda m: m["args"].pop("request_specs")), "no 'request_specs'", id="no specs"),
        pytest.param(changed(lambda m: m["args"].update(request_specs=[], build_requests=[])), "no server", id="no server"),
        pytest.param(changed(lambda m: m["args"].update(build_requests=[])), "1 request_specs but 0", id="unequal lists"),
        pytest.param(
            changed(lambda m: m["args"]["request_specs"][0]["nova_object.data"]["flavor"]["nova_object.data"].update(vcpus=-1)),
            "flavor: vcpus is -1", id="a negative demand"),
    ],
)  # fmt: skip
def test_what_nova_does_not_send_is_told_and_never_raises(raw: bytes, told: str) -> None:
    delivery = nova_message.read("m", raw)
    assert told in delivery.unreadable
    assert delivery.requests == ()
    assert delivery.body == raw


@pytest.mark.parametrize("name", ["", "custom_low", "CUSTOM A", "CUSTOM_A,!CUSTOM_B"])
def test_a_flavor_that_requires_what_is_no_trait_is_said_to(name: str) -> None:
    flavor = FLAVOR | {"extra_specs": {f"trait:{name}": "required"}}
    found = nova_message.read("m", messages.enveloped(messages.build_message(flavor=flavor)))
    assert "names no trait such as HW_CPU_X86_VMX" in found.unreadable

"""What the drivers of a real cloud make of what its services answer, and of its notifications."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from oslo_config import cfg
from oslo_config.cfg import ConfigOpts

from synergy.core.errors import (
    ConfigurationInvalid,
    Conflict,
    InvalidInput,
    NotFound,
    SynergyError,
    UpstreamUnavailable,
)
from synergy.core.model import BuildFailure, Resources
from synergy.drivers.clock import SystemClock
from synergy.drivers.openstack import notifications, plugin
from synergy.drivers.openstack.quotas import CachedQuotas, QuotaDriver
from synergy.ports import NoticeKind, ServerStatus, ServerView
from tests.unit.drivers.answering import Answering

BROKERS = {"edge_url": "rabbit://u:p@127.0.0.1:9/edge", "core_url": "rabbit://u:p@127.0.0.1:9/core"}
PASSWORD = {
    "auth_type": "password", "username": "synergy", "password": "secret",
    "project_name": "service", "user_domain_id": "default", "project_domain_id": "default",
    "region_name": "R",
}  # fmt: skip


def conf_of(**values: Any) -> ConfigOpts:
    conf = cfg.ConfigOpts()
    conf.register_opts(plugin.OPTIONS, group=plugin.GROUP)
    conf([])
    for name, value in values.items():
        conf.set_override(name, value, group=plugin.GROUP)
    return conf


@pytest.fixture
def services() -> Iterator[Answering]:
    made = Answering()
    yield made
    made.close()


@pytest.fixture
def ports(services: Answering) -> dict[str, Any]:
    conf = conf_of(**PASSWORD, **BROKERS, auth_url=f"{services.url}/identity/v3", timeout=2)
    return dict(plugin.open_cloud(conf, SystemClock()).ports)


SERVER = ("GET", "/compute/v2.1/servers/")


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        pytest.param((401, {}), UpstreamUnavailable, "does not accept Synergy's credentials", id="401"),
        pytest.param((403, {}), UpstreamUnavailable, "forbids the request: give Synergy's user the roles", id="403"),
        pytest.param((409, {}), Conflict, "Nova", id="409"),
        pytest.param((400, {"badRequest": {"message": "no such thing"}}), InvalidInput, "Nova", id="400"),
        pytest.param((429, {}), UpstreamUnavailable, "limits the rate of requests", id="429"),
        pytest.param((500, {}), UpstreamUnavailable, "answers 500", id="500"),
        pytest.param((503, b"<html>busy</html>"), UpstreamUnavailable, "answers 503", id="503"),
        pytest.param((200, b"<html>hello</html>"), UpstreamUnavailable, "Nova", id="no JSON"),
        pytest.param((200, {"server": {"id": "s"}}), UpstreamUnavailable, "unreadable answer", id="nonsense"),
        pytest.param((200, None), UpstreamUnavailable, "does not answer", id="nothing"),
    ],
)  # fmt: skip
def test_each_answer_that_is_none_is_one_error_of_ours(
    services: Answering,
    ports: Mapping[str, Any],
    answer: tuple[int, bytes | Mapping[str, Any] | None],
    error: type[Exception],
    told: str,
) -> None:
    services.answers[SERVER] = answer
    with pytest.raises(error, match=told):
        ports["compute"].servers(["s"])


KINDS = {400: InvalidInput, 404: NotFound, 409: Conflict}
UNAVAILABLE = (401, 403, 405, 413, 429, 500, 501, 503)
FOREIGN: tuple[Any, ...] = (
    {},
    [],
    "text",
    {"error": "text"},
    {"errors": []},
    {"message": "m"},
    b"<html>",
    b"",
)


@pytest.mark.parametrize("status", [*KINDS, *UNAVAILABLE])
def test_a_status_is_the_same_error_whatever_a_proxy_in_front_of_nova_writes_below_it(
    services: Answering, ports: dict[str, Any], status: int
) -> None:
    for body in FOREIGN:
        services.answers["POST", "/compute/v2.1/servers/s/action"] = (status, body)
        services.answers["GET", "/compute/v2.1/os-quota-sets/p"] = (status, body)
        asks: list[Callable[[], object]] = [
            lambda: ports["compute"].stop_server("s"), lambda: ports["compute"].quota("p"),
        ]  # fmt: skip
        for ask in asks:
            with pytest.raises(SynergyError, match="Nova") as caught:
                ask()
            assert type(caught.value) is KINDS.get(status, UpstreamUnavailable), body


def test_what_a_proxy_says_in_place_of_nova_is_shown(
    services: Answering, ports: dict[str, Any]
) -> None:
    services.answers[SERVER] = (503, b"<html>no backend</html>")
    with pytest.raises(UpstreamUnavailable, match="Nova answers 503: <html>no backend</html>"):
        ports["compute"].servers(["s"])


def test_a_server_that_is_gone_is_no_error(services: Answering, ports: dict[str, Any]) -> None:
    services.answers[SERVER] = (404, {"itemNotFound": {"message": "gone", "code": 404}})
    assert ports["compute"].servers(["s"]) == {}
    ports["compute"].delete_server("s")
    with pytest.raises(NotFound):
        ports["compute"].stop_server("s")


@pytest.mark.parametrize("status", [401, 500])
def test_keystone_that_refuses_is_told_when_it_is_asked_and_not_before(
    services: Answering, ports: Mapping[str, Any], status: int
) -> None:
    services.answers["POST", "/identity/v3/auth/tokens"] = (status, {})
    with pytest.raises(UpstreamUnavailable, match="Keystone"):
        ports["identity"].projects()
    del services.answers["POST", "/identity/v3/auth/tokens"]
    services.answers["GET", "/identity/v3/domains"] = (200, {"domains": []})
    services.answers["GET", "/identity/v3/projects"] = (200, {"projects": []})
    assert ports["identity"].projects() == []


def keystone_project(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"p{number}",
        "name": f"project{number}",
        "domain_id": "d",
        "parent_id": "d",
        "enabled": True,
        "tags": [],
        **more,
    }


def test_projects_are_listed_over_all_pages_of_keystone(
    services: Answering, ports: Mapping[str, Any]
) -> None:
    services.answers["GET", "/identity/v3/domains"] = (200, {"domains": [{"id": "d", "name": "D"}]})
    after = "http://elsewhere.example:5000/v3/projects?marker=p1"  # as behind a proxy
    pages: dict[str, tuple[list[Any], dict[str, str | None]]] = {
        "/identity/v3/projects": ([keystone_project(1, tags=["red"])], {"next": after}),
        "/identity/v3/projects?marker=p1": (
            [keystone_project(2, enabled=False, parent_id="p1")], {"next": None},
        ),
    }  # fmt: skip
    for path, (some, links) in pages.items():
        answer = {"projects": some, "links": links, "truncated": bool(links["next"])}
        services.answers["GET", path] = (200, answer)
    first, second = ports["identity"].projects()
    assert (first.tags, first.enabled, first.parent_id) == ({"red"}, True, None)
    assert (second.tags, second.enabled, second.parent_id) == (frozenset(), False, "p1")
    assert first.domain_name == "D"


@pytest.mark.parametrize("links", [{}, {"next": None}])
def test_a_list_of_projects_that_keystone_cut_is_no_list_of_them(
    services: Answering, ports: Mapping[str, Any], links: Mapping[str, None]
) -> None:
    services.answers["GET", "/identity/v3/domains"] = (200, {"domains": []})
    cut = {"projects": [keystone_project(1)], "truncated": True, "links": links}
    services.answers["GET", "/identity/v3/projects"] = (200, cut)
    with pytest.raises(UpstreamUnavailable, match="lists only 1 projects: raise list_limit"):
        ports["identity"].projects()


def test_a_cloud_that_is_not_there_is_told() -> None:
    conf = conf_of(**PASSWORD, **BROKERS, auth_url="http://127.0.0.1:9/v3")
    ports: Mapping[str, Any] = plugin.open_cloud(conf, SystemClock()).ports
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        ports["compute"].hosts()


def test_free_room_is_what_the_candidates_have_left_with_what_is_nested_below(
    services: Answering, ports: Mapping[str, Any]
) -> None:
    def summary(root: str, **resources: Any) -> dict[str, Any]:
        return {
            "root_provider_uuid": root,
            "resources": {n: {"capacity": c, "used": u} for n, (c, u) in resources.items()},
        }

    services.answers["GET", "/placement/allocation_candidates"] = (200, {
        "allocation_requests": [],
        "provider_summaries": {
            "a": summary("a", VCPU=(16, 3), MEMORY_MB=(1024, 0)),
            "a-gpu": summary("a", VGPU=(2, 1)),
            "b": summary("b", VCPU=(4, 4)),
        },
    })  # fmt: skip
    demand = Resources.of(VCPU=1, VGPU=1)
    assert ports["compute"].room_for(demand) == {
        "a": Resources.of(VCPU=13, MEMORY_MB=1024, VGPU=1),
        "b": Resources(),
    }
    asked = next(path for method, path in services.asked if "allocation_candidates" in path)
    assert "resources=VCPU%3A1%2CVGPU%3A1" in asked
    assert "required=%21COMPUTE_STATUS_DISABLED" in asked


def test_placement_that_fails_is_told(services: Answering, ports: Mapping[str, Any]) -> None:
    services.answers["GET", "/placement/allocation_candidates"] = (500, {})
    with pytest.raises(UpstreamUnavailable, match="Placement answers 500"):
        ports["compute"].room_for(Resources.of(VCPU=1))
    services.answers["GET", "/placement/allocations/s"] = (401, {})
    with pytest.raises(UpstreamUnavailable, match="does not accept Synergy's credentials"):
        ports["compute"].placed(["s"])


def test_hosts_are_asked_for_with_zone_and_traits(
    services: Answering, ports: Mapping[str, Any]
) -> None:
    services.answers["GET", "/compute/v2.1/os-aggregates"] = (200, {"aggregates": [
        {"id": 1, "uuid": "u-east", "name": "one", "metadata": {"availability_zone": "east"}},
        {"id": 2, "uuid": "u-west", "name": "two", "metadata": {"availability_zone": "west"}},
        {"id": 3, "uuid": "u-none", "name": "three", "metadata": {}},
    ]})  # fmt: skip
    services.answers["GET", "/placement/allocation_candidates"] = (200, {
        "allocation_requests": [], "provider_summaries": {},
    })  # fmt: skip
    constraints = (
        ("availability_zone", "east"), ("server_group", "g"), ("trait:A", "required"),
        ("trait:B", "forbidden"),
    )  # fmt: skip
    assert ports["compute"].room_for(Resources.of(VCPU=1), constraints) == {}
    asked = next(path for method, path in services.asked if "allocation_candidates" in path)
    assert "required=%21COMPUTE_STATUS_DISABLED%2CA%2C%21B" in asked
    assert "member_of=in%3Au-east" in asked
    assert "u-west" not in asked


@pytest.mark.parametrize("said", ["No such trait(s): A.", "Invalid: No such resource class X."])
def test_what_placement_never_heard_of_no_host_has(
    services: Answering, ports: Mapping[str, Any], said: str
) -> None:
    errors = {"errors": [{"status": 400, "detail": said}]}
    services.answers["GET", "/placement/allocation_candidates"] = (400, errors)
    assert ports["compute"].room_for(Resources.of(VCPU=1), (("trait:A", "required"),)) == {}
    services.answers["GET", "/placement/allocation_candidates"] = (
        400, {"errors": [{"status": 400, "detail": "limit is no number"}]},
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="limit is no number"):
        ports["compute"].room_for(Resources.of(VCPU=1))


@pytest.mark.parametrize(
    ("task", "actions", "waits"),
    [
        ("scheduling", [], True),
        ("scheduling", [{"action": "create"}], False),  # built again on another host
        ("resize_prep", [{"action": "resize"}], True),
        ("spawning", [], False),
        (None, [], False),
    ],
)
def test_a_server_that_is_built_again_elsewhere_waits_for_no_conductor(
    services: Answering,
    ports: Mapping[str, Any],
    task: str | None,
    actions: Sequence[Mapping[str, str]],
    waits: bool,
) -> None:
    server = {"id": "s", "status": "BUILD", "OS-EXT-STS:task_state": task}
    services.answers[SERVER] = (200, {"server": server})
    services.answers["GET", "/compute/v2.1/servers/s/os-instance-actions"] = (
        200, {"instanceActions": actions},
    )  # fmt: skip
    assert ports["compute"].still_waiting(["s"]) == ({"s"} if waits else set())


RECORDED: dict[str, Any] = {  # of a Nova of 2026 at microversion 2.53, as an administrator sees it
    "id": "s", "name": "sim-1", "status": "ACTIVE", "tenant_id": "p", "user_id": "u",
    "metadata": {"a": "b"}, "hostId": "0" * 56, "image": {"id": "i", "links": []},
    "flavor": {
        "vcpus": 2, "ram": 512, "disk": 1, "ephemeral": 3, "swap": 1025,
        "original_name": "m1.small", "extra_specs": {"resources:VGPU": "1"},
    },
    "created": "2026-11-26T12:00:00Z", "updated": "2026-11-26T12:01:00Z", "addresses": {},
    "accessIPv4": "", "accessIPv6": "", "links": [], "OS-DCF:diskConfig": "AUTO", "progress": 0,
    "OS-EXT-AZ:availability_zone": "nova", "config_drive": "", "key_name": None,
    "OS-SRV-USG:launched_at": "2026-11-26T12:01:00.000000", "OS-SRV-USG:terminated_at": None,
    "OS-EXT-SRV-ATTR:host": "fake1", "OS-EXT-SRV-ATTR:instance_name": "instance-00000001",
    "OS-EXT-SRV-ATTR:hypervisor_hostname": "fake1", "OS-EXT-SRV-ATTR:reservation_id": "r-1",
    "OS-EXT-SRV-ATTR:launch_index": 0, "OS-EXT-SRV-ATTR:hostname": "sim-1",
    "OS-EXT-SRV-ATTR:kernel_id": "", "OS-EXT-SRV-ATTR:ramdisk_id": "",
    "OS-EXT-SRV-ATTR:root_device_name": "/dev/sda", "OS-EXT-SRV-ATTR:user_data": "cGFzc3dvcmQ=",
    "OS-EXT-STS:task_state": None, "OS-EXT-STS:vm_state": "active", "OS-EXT-STS:power_state": 1,
    "os-extended-volumes:volumes_attached": [], "host_status": "UP", "locked": False,
    "description": None, "tags": [],
}  # fmt: skip
VIEW = ServerView(
    server_id="s", project_id="p", user_id="u", name="sim-1", flavor="m1.small",
    demand=Resources.of(VCPU=2, MEMORY_MB=512, DISK_GB=6, VGPU=1), status=ServerStatus.ACTIVE,
    created_at=datetime(2026, 11, 26, 12, tzinfo=UTC),
    launched_at=datetime(2026, 11, 26, 12, 1, tzinfo=UTC), host="fake1", metadata={"a": "b"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ({}, {}),
        ({"image": ""}, {"demand": Resources.of(VCPU=2, MEMORY_MB=512, DISK_GB=5, VGPU=1)}),
        ({"OS-EXT-STS:task_state": "powering-off"}, {"in_task": True}),
        ({"status": "VERIFY_RESIZE"}, {"in_task": True}),
        ({"status": "BUILD", "OS-EXT-STS:task_state": "scheduling", "OS-EXT-SRV-ATTR:host": None,
          "OS-SRV-USG:launched_at": None},
         {"status": ServerStatus.SCHEDULING, "in_task": True, "host": None, "launched_at": None}),
        ({"status": "BUILD"}, {"status": ServerStatus.BUILDING}),
        ({"status": "SHUTOFF"}, {"status": ServerStatus.STOPPED}),
        ({"status": "SHELVED_OFFLOADED", "OS-EXT-SRV-ATTR:host": ""},
         {"status": ServerStatus.SHELVED, "host": None}),
        ({"status": "ERROR", "fault": {"message": "No valid host was found. ", "code": 500}},
         {"status": ServerStatus.ERROR, "fault": "No valid host was found. ",
          "failure": BuildFailure.NO_VALID_HOST}),
        ({"name": None}, {"name": ""}),
    ],
)  # fmt: skip
def test_a_server_is_read_as_nova_shows_it(
    services: Answering,
    ports: dict[str, Any],
    shown: dict[str, dict[str, int | str] | str | None],
    seen: dict[str, Any],
) -> None:
    services.answers[SERVER] = (200, {"server": RECORDED | shown})
    assert ports["compute"].servers(["s"]) == {"s": replace(VIEW, **seen)}


def test_nova_is_asked_at_one_microversion_and_under_our_name(
    services: Answering, ports: dict[str, Any]
) -> None:
    services.answers[SERVER] = (200, {"server": RECORDED})
    ports["compute"].servers(["s"])
    headers, _ = services.received[-1]
    assert headers["OpenStack-API-Version"] == "compute 2.53"
    assert headers["User-Agent"] == "synergy"


def test_a_server_that_nova_cannot_show_is_unknown_and_the_others_are_read(
    services: Answering, ports: dict[str, Any]
) -> None:
    services.answers[SERVER] = (500, {})
    for one in ("a", "b"):
        services.answers["GET", f"/compute/v2.1/servers/{one}"] = (
            200, {"server": RECORDED | {"id": one}},
        )  # fmt: skip
    services.answers["GET", "/compute/v2.1/servers?"] = (200, {"servers": []})
    damaged = [f"x{n}" for n in range(6)]  # more than are asked for at once
    found = ports["compute"].servers([*damaged, "a", "b"])
    assert {key for key, one in found.items() if one.status is ServerStatus.UNKNOWN} == {*damaged}
    assert found["a"] == replace(VIEW, server_id="a")
    services.answers["GET", "/compute/v2.1/servers?"] = (500, {})
    with pytest.raises(UpstreamUnavailable, match="answers 500"):
        ports["compute"].servers(damaged)


@pytest.mark.parametrize(
    "odd",
    [
        {"flavor": RECORDED["flavor"] | {"extra_specs": {"resources:VGPU": "some"}}},
        {"flavor": RECORDED["flavor"] | {"vcpus": -1}},
        {"flavor": {}}, {"flavor": None}, {"created": None}, {"created": "yesterday"},
        {"metadata": ["x"]}, {"fault": "text"},
    ],
)  # fmt: skip
def test_a_server_of_a_list_that_cannot_be_read_keeps_no_other_from_being_read(
    services: Answering, ports: dict[str, Any], odd: dict[str, Any]
) -> None:
    services.answers["GET", "/compute/v2.1/servers/detail"] = [
        (200, {"servers": [RECORDED | {"id": "bad"} | odd, RECORDED]}), (200, {"servers": []}),
    ]  # fmt: skip
    assert list(ports["compute"].servers_of(None)) == [
        ServerView.unknown("bad", project_id="p"), VIEW,
    ]  # fmt: skip


@pytest.mark.parametrize("endpoint", ["", "/", "/v2.1", "/v2.1/"])
def test_the_endpoint_of_nova_may_leave_its_version_out(
    services: Answering, ports: dict[str, Any], endpoint: str
) -> None:
    services.catalogue["compute"] = endpoint
    services.answers[SERVER] = (200, {"server": RECORDED})
    assert ports["compute"].servers(["s"]) == {"s": VIEW}


def test_a_list_goes_on_until_an_empty_page_since_nova_may_give_fewer_than_asked_for(
    services: Answering, ports: dict[str, Any]
) -> None:
    def page(*ids: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        return 200, {"servers": [RECORDED | {"id": one} for one in ids]}

    services.answers["GET", "/compute/v2.1/servers/detail"] = [page("a", "b"), page("c"), page()]
    assert [view.server_id for view in ports["compute"].servers_of("p")] == ["a", "b", "c"]
    asked = [parse_qs(urlsplit(path).query) for _, path in services.asked if "detail" in path]
    assert [one.get("marker") for one in asked] == [None, ["b"], ["c"]]
    assert [(one["all_tenants"], one["project_id"]) for one in asked] == [(["1"], ["p"])] * 3

    services.answers["GET", "/compute/v2.1/servers?"] = [page("a", "b"), page("c"), page()]
    assert list(ports["compute"].unbuilt()) == [["a", "b"], ["c"]]
    asked = [parse_qs(urlsplit(path).query) for _, path in services.asked if "servers?" in path]
    assert [one["status"] for one in asked] == [["BUILD"]] * 3
    assert not any("project_id" in one for one in asked)


def test_flavors_come_with_their_extra_specs_and_without_the_disabled_ones(
    services: Answering, ports: dict[str, Any]
) -> None:
    def flavor(name: str, **more: Any) -> dict[str, Any]:
        return {
            "id": name, "name": name, "vcpus": 1, "ram": 64, "disk": 2, "swap": "",
            "OS-FLV-EXT-DATA:ephemeral": 0, "OS-FLV-DISABLED:disabled": False, "links": [],
            "os-flavor-access:is_public": True, "rxtx_factor": 1.0,
        } | more  # fmt: skip

    listed = [flavor("plain"), flavor("gone", **{"OS-FLV-DISABLED:disabled": True})]
    services.answers["GET", "/compute/v2.1/flavors/detail"] = [
        (200, {"flavors": listed}), (200, {"flavors": [flavor("gpu", swap=1024)]}),
        (200, {"flavors": []}),
    ]  # fmt: skip
    services.answers["GET", "/compute/v2.1/flavors/plain/os-extra_specs"] = (
        200,
        {"extra_specs": {}},
    )
    services.answers["GET", "/compute/v2.1/flavors/gpu/os-extra_specs"] = (
        200, {"extra_specs": {"resources:VGPU": "1"}},
    )  # fmt: skip
    plain, gpu = ports["compute"].flavors()
    assert (plain.name, plain.demand) == ("plain", Resources.of(VCPU=1, MEMORY_MB=64, DISK_GB=2))
    assert gpu.demand == Resources.of(VCPU=1, MEMORY_MB=64, DISK_GB=3, VGPU=1)


def test_a_flavor_that_requests_what_nobody_can_say_hides_no_other(
    services: Answering, ports: dict[str, Any]
) -> None:
    plain = {
        "vcpus": 1, "ram": 64, "disk": 2, "swap": "", "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False, "links": [],
    }  # fmt: skip
    services.answers["GET", "/compute/v2.1/flavors/detail"] = [
        (200, {"flavors": [plain | {"id": one, "name": one} for one in ("odd", "plain")]}),
        (200, {"flavors": []}),
    ]  # fmt: skip
    for one, specs in (("odd", {"resources:VGPU": "some"}), ("plain", {})):
        services.answers["GET", f"/compute/v2.1/flavors/{one}/os-extra_specs"] = (
            200, {"extra_specs": specs},
        )  # fmt: skip
    assert [flavor.name for flavor in ports["compute"].flavors()] == ["plain"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda compute: compute.quota("p"), lambda compute: compute.quota_record("p"),
        lambda compute: compute.server_limit("p"), lambda compute: compute.lift_quota("p"),
        lambda compute: compute.restore_quota("p", {"cores": 7}),
    ],
)  # fmt: skip
def test_nova_that_finds_no_project_says_so_with_400(
    services: Answering, ports: dict[str, Any], ask: Callable[[Any], object]
) -> None:
    said = {"badRequest": {"code": 400, "message": "Project ID p is not a valid project."}}
    for method in ("GET", "PUT"):
        services.answers[method, "/compute/v2.1/os-quota-sets/p"] = (400, said)
    with pytest.raises(NotFound, match="Nova: Project ID p is not a valid project"):
        ask(ports["compute"])


def test_a_quota_is_put_back_with_the_limits_that_we_never_lifted(
    services: Answering, ports: dict[str, Any]
) -> None:
    defaults = {"id": "p", "cores": 20, "ram": 51200, "instances": 10, "key_pairs": 100}
    services.answers["GET", "/compute/v2.1/os-quota-sets/p"] = (
        200, {"quota_set": defaults | {"cores": -1, "ram": -1, "instances": -1, "key_pairs": 3}},
    )  # fmt: skip
    services.answers["GET", "/compute/v2.1/os-quota-sets/p/defaults"] = (
        200, {"quota_set": defaults},
    )  # fmt: skip
    services.answers["DELETE", "/compute/v2.1/os-quota-sets/p"] = (202, b"")
    services.answers["PUT", "/compute/v2.1/os-quota-sets/p"] = (200, {"quota_set": defaults})
    ports["compute"].restore_quota("p", {"cores": 7, "instances": None})
    assert [method for method, path in services.asked if "quota-sets" in path] == [
        "GET", "GET", "DELETE", "PUT",
    ]  # fmt: skip
    assert services.received[-1][1] == {
        "quota_set": {"cores": 7, "instances": -1, "key_pairs": 3, "force": True}
    }


@pytest.mark.parametrize(("retries", "error"), [(0, UpstreamUnavailable), (1, None)])
def test_a_busy_nova_is_asked_again_as_often_as_configured(
    services: Answering, retries: int, error: type[UpstreamUnavailable] | None
) -> None:
    conf = conf_of(
        **PASSWORD, **BROKERS, auth_url=f"{services.url}/identity/v3",
        status_code_retries=retries, status_code_retry_delay=0.0,
    )  # fmt: skip
    compute: Any = plugin.open_cloud(conf, SystemClock()).ports["compute"]
    services.answers[SERVER] = [(503, b"busy"), (200, {"server": RECORDED})]
    with pytest.raises(error, match="busy") if error else nullcontext():
        assert compute.servers(["s"]) == {"s": VIEW}


def test_what_is_listed_is_neither_kept_in_the_home_folder_nor_logged(
    services: Answering,
    ports: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "keystoneauth")  # as oslo.log's default_log_levels do
    services.answers["GET", "/compute/v2.1/servers/detail"] = [
        (200, {"servers": [RECORDED]}), (200, {"servers": []}),
    ]  # fmt: skip
    assert list(ports["compute"].servers_of("p")) == [VIEW]
    assert list(tmp_path.iterdir()) == []
    assert RECORDED["OS-EXT-SRV-ATTR:user_data"] not in caplog.text


def test_quotas_of_others_are_remembered_for_a_while() -> None:
    class Driver:
        asked = 0

        def quota(self, project_id: str) -> dict[str, int]:
            self.asked += 1
            return {"VCPU": self.asked}

    driver, now_s = Driver(), [0.0]
    cached_quotas = CachedQuotas(
        cast(QuotaDriver, driver), kept_s=600, monotonic_s=lambda: now_s[0]
    )
    assert [cached_quotas.quota("p")["VCPU"] for _ in range(3)] == [1, 1, 1]
    assert cached_quotas.quota("p", fresh=True) == {"VCPU": 2}
    now_s[0] = 601.0
    assert cached_quotas.quota("p") == {"VCPU": 3}
    cached_quotas.forget("p")
    assert cached_quotas.quota("p") == {"VCPU": 4}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"edge_url": ""}, "edge_url is not set"),
        ({"edge_url": "http://host/edge"}, "edge_url: it must look like rabbit://"),
        ({"core_url": BROKERS["edge_url"]}, "edge_url and core_url are the same"),
        ({"auth_type": ""}, "auth_type is not set"),
        ({"auth_type": "nosuch"}, "nosuch"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(values: dict[str, str], told: str) -> None:
    chosen = PASSWORD | BROKERS | {"auth_url": "http://127.0.0.1:9/v3"} | values
    with pytest.raises(ConfigurationInvalid, match=told):
        plugin.open_cloud(conf_of(**chosen), SystemClock())


def notification(event: str, payload: Mapping[str, Any], **more: Any) -> bytes:
    inner = {
        "event_type": event, "message_id": "m", "timestamp": "2026-01-01 12:00:00.5",
        "payload": payload, "publisher_id": "nova", "priority": "INFO",
    } | more  # fmt: skip
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(inner)}).encode()


SERVER_ID = str(UUID(int=1))


def versioned(**data: Any) -> dict[str, Any]:
    return {"nova_object.name": "Payload", "nova_object.data": data}


@pytest.mark.parametrize(
    ("event", "payload", "kind", "detail"),
    [
        ("instance.create.end", versioned(uuid=SERVER_ID, host="h"), NoticeKind.BOOTED, ""),
        ("compute.instance.create.end", {"instance_id": SERVER_ID, "host": "h"}, NoticeKind.BOOTED, ""),
        ("instance.delete.end", versioned(uuid=SERVER_ID, host="h"), NoticeKind.DELETED, ""),
        ("instance.shelve_offload.end", versioned(uuid=SERVER_ID, host="h"), NoticeKind.SHELVED, ""),
        ("instance.resize_confirm.end", versioned(uuid=SERVER_ID, host="h"), NoticeKind.RESIZED, ""),
        ("instance.rebuild.end", versioned(uuid=SERVER_ID, host="h"), NoticeKind.CHANGED, ""),
        ("compute.instance.rebuild.end", {"instance_id": SERVER_ID, "host": "h"},
         NoticeKind.CHANGED, ""),
        ("compute.instance.force_delete.end", {"instance_id": SERVER_ID, "host": "h"}, NoticeKind.DELETED, ""),
        ("instance.create.error",
         versioned(uuid=SERVER_ID, host="h", fault=versioned(exception_message="it burst")),
         NoticeKind.ATTEMPT_FAILED, "it burst"),
        ("compute_task.build_instances.error",
         versioned(instance_uuid=SERVER_ID, host="h", reason=versioned(exception_message="no host")),
         NoticeKind.FAILED, "no host"),
    ],
)  # fmt: skip
def test_a_notification_is_read_in_both_formats(
    event: str, payload: Mapping[str, Any], kind: NoticeKind, detail: str
) -> None:
    notice = notifications.read(notification(event, payload))
    assert notice
    assert (notice.message_id, notice.kind, notice.server_id, notice.host, notice.detail) == (
        "m", kind, SERVER_ID, "h", detail,
    )  # fmt: skip
    assert notice.at.isoformat() == "2026-01-01T12:00:00.500000+00:00"


@pytest.mark.parametrize("publisher", ["nova-compute:node1.example", "compute.node1.example"])
def test_a_build_that_broke_before_it_had_a_host_is_told_by_one(publisher: str) -> None:
    payload = versioned(uuid=SERVER_ID, host=None, fault=versioned(exception_message="full"))
    body = notification("instance.create.error", payload, publisher_id=publisher)
    notice = notifications.read(body)
    assert notice
    assert notice.host == "node1.example"


def test_other_notifications_say_nothing_to_us() -> None:
    assert notifications.read(notification("instance.update", versioned(uuid=SERVER_ID))) is None


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        notification("instance.create.end", {}),
        notification("instance.create.end", versioned()),
        notification("compute.instance.create.end", {"instance_id": SERVER_ID}, timestamp="noon"),
    ],
)
def test_a_notification_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        notifications.read(body)

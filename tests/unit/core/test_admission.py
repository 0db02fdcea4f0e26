from collections.abc import Mapping
from typing import Any

import pytest

from synergy.core.admission import RequestOptions, request_options, retry_delay_s
from synergy.core.billing import billing
from synergy.core.errors import InvalidInput
from synergy.core.model import DefaultQuota, OnPrivateFull, Project, QuotaKind, Resources
from tests.builders import kind

PROJECT = Project(project_id="p", name="p", domain_id="d", ttl_s=600)


def asked(
    metadata: Mapping[str, str] | None = None,
    *,
    specs: Mapping[str, str] | None = None,
    line: str | None = None,
    **project: Any,
) -> RequestOptions:
    values = {field: getattr(PROJECT, field) for field in Project.__dataclass_fields__} | project
    return request_options(
        Project(**values), metadata=metadata or {}, extra_specs=specs or {}, user_data_quota=line,
        qos_names=["normal", "urgent"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("metadata", "specs", "line", "default", "expected"),
    [
        ({}, {}, None, DefaultQuota.PRIVATE, (QuotaKind.PRIVATE, OnPrivateFull.QUEUE)),
        ({}, {}, None, DefaultQuota.SHARED, (QuotaKind.SHARED, OnPrivateFull.QUEUE)),
        ({}, {}, None, DefaultQuota.PRIVATE_THEN_SHARED, (QuotaKind.PRIVATE, OnPrivateFull.SHARED)),
        ({}, {}, "shared", DefaultQuota.PRIVATE, (QuotaKind.SHARED, OnPrivateFull.QUEUE)),
        ({}, {"synergy:quota": "private"}, "shared", DefaultQuota.SHARED,
         (QuotaKind.PRIVATE, OnPrivateFull.QUEUE)),
        ({"quota": "shared"}, {"synergy:quota": "private"}, None, DefaultQuota.PRIVATE,
         (QuotaKind.SHARED, OnPrivateFull.QUEUE)),
        ({}, {"lifecycle:preemptable": "True"}, "private", DefaultQuota.PRIVATE,
         (QuotaKind.SHARED, OnPrivateFull.QUEUE)),
        ({}, {"lifecycle:preemptable": "false"}, None, DefaultQuota.PRIVATE,
         (QuotaKind.PRIVATE, OnPrivateFull.QUEUE)),
        ({}, {"lifecycle:preemptable": "true", "synergy:quota": "private"}, None,
         DefaultQuota.SHARED, (QuotaKind.PRIVATE, OnPrivateFull.QUEUE)),
        ({"quota": "private"}, {"lifecycle:preemptable": "true"}, None, DefaultQuota.SHARED,
         (QuotaKind.PRIVATE, OnPrivateFull.QUEUE)),
    ],
    ids=["private", "shared", "private first", "user-data", "flavor over user-data",
         "metadata first", "preemptable", "not preemptable", "our own over preemptable",
         "metadata over preemptable"],
)  # fmt: skip
def test_a_request_names_its_quota_else_the_project_does(
    metadata: Mapping[str, str],
    specs: Mapping[str, str],
    line: str | None,
    default: DefaultQuota,
    expected: tuple[QuotaKind, OnPrivateFull],
) -> None:
    found = asked(metadata, specs=specs, line=line, default_quota=default)
    assert (found.quota, found.on_private_full) == expected


@pytest.mark.parametrize("on_full", OnPrivateFull)
@pytest.mark.parametrize("default", [DefaultQuota.SHARED, DefaultQuota.PRIVATE])
def test_who_asks_for_the_shared_quota_never_takes_the_private_one(
    default: DefaultQuota, on_full: OnPrivateFull
) -> None:
    wished = {"quota": "shared"} if default is DefaultQuota.PRIVATE else {}
    found = asked(wished, default_quota=default, on_private_full=on_full)
    one = kind(quota=found.quota, on_full=found.on_private_full)
    assert (one.may_own, one.may_borrow) == (False, True)


@pytest.mark.parametrize(("wished", "given"), [("60", 60), ("601", 600), (None, 600)])
def test_a_lifetime_can_only_be_shorter_than_the_projects(wished: str | None, given: int) -> None:
    assert asked({"synergy:ttl_s": wished} if wished else {}).ttl_s == given


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"quota": "mine"}, "quota is 'mine', but must be one of private, shared"),
        ({"synergy:ttl_s": "soon"}, "synergy:ttl_s is 'soon'"),
        ({"synergy:ttl_s": "0"}, "synergy:ttl_s is '0'"),
        ({"synergy:ttl_s": "-5"}, "synergy:ttl_s is '-5'"),
        ({"synergy:ttl_s": "٣"}, "synergy:ttl_s is"),
        ({"synergy:ttl_s": "9" * 5000}, "synergy:ttl_s is"),
        ({"synergy:qos": "best"}, "synergy:qos is 'best', but must be one of normal, urgent"),
        ({"synergy:nice": "-1"}, "synergy:nice is '-1'"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_by_name(
    metadata: Mapping[str, str], told: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        asked(metadata)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 200  # Nova shows no more


def test_a_failed_hand_over_backs_off_and_is_given_up_after_five() -> None:
    assert [retry_delay_s(n) for n in range(1, 7)] == [60, 120, 240, 480, None, None]


def test_billing_weighs_classes() -> None:
    weights = {"VCPU": 1.0, "MEMORY_MB": 0.001}
    demand = Resources.of(VCPU=4, MEMORY_MB=2000, DISK_GB=9)
    assert billing(demand, weights) == pytest.approx(6.0)
    assert billing(demand, weights, maximum=True) == 4.0
    assert billing(Resources.of(DISK_GB=9), weights, maximum=True) == 0.0


def test_a_flavor_that_is_preemptable_in_no_known_way_is_refused() -> None:
    told = "lifecycle:preemptable of the flavor is 'maybe', but must be true or false"
    with pytest.raises(InvalidInput, match=told):
        asked(specs={"lifecycle:preemptable": "maybe"})

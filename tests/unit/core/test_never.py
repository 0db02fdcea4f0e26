"""What can never start: told one by one at intake, all at once in a round, and both the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.model import NOTHING, OnPrivateFull, QuotaKind, RequestClass, Resources
from synergy.core.never import Ceilings, NeverFits
from synergy.core.queue import WaitingQueue
from synergy.core.quota import Owner, QuotaNode, QuotaState, QuotaTree
from tests.builders import kind, rid

PRIVATE, SHARED = QuotaKind.PRIVATE, QuotaKind.SHARED
ROOT = QuotaNode(node_id="root", parent_id=None)


def vcpus(amount: int) -> Resources:
    return Resources.of(VCPU=amount)


def ceilings(**changes: Any) -> Ceilings:
    """Two hosts of 8 VCPU, both down just now; 10 are granted to others; p owns 2."""
    values = {
        "total": NOTHING,
        "installed": vcpus(16),
        "hosts": (vcpus(8),),
        "unmanaged": (Owner(project_id="x", name="x", private=vcpus(10)),),
        "nodes": (
            ROOT,
            QuotaNode(
                node_id="p", parent_id="root", private=vcpus(2), borrow_limit=vcpus(6),
                lend_limit=NOTHING,
            ),
            QuotaNode(node_id="u", parent_id="p"),
        ),
    }  # fmt: skip
    state = QuotaState(**(values | changes))
    return Ceilings(QuotaTree(state, state.resource_classes()))


@pytest.mark.parametrize(
    ("demand", "quota", "on_full", "why"),
    [
        pytest.param(4, SHARED, "queue", "", id="fits"),
        pytest.param(9, SHARED, "queue", "the largest host has VCPU=8", id="no host is that large"),
        pytest.param(7, SHARED, "queue", "p may borrow VCPU=6", id="beyond the borrow limit"),
        pytest.param(5, SHARED, "queue", "the whole shared quota is VCPU=4", id="beyond the pool"),
        pytest.param(3, PRIVATE, "queue", "the private quota is VCPU=2", id="beyond the private"),
        pytest.param(3, PRIVATE, "reject", "the private quota is VCPU=2", id="likewise"),
        pytest.param(2, PRIVATE, "queue", "", id="fits the private quota"),
        pytest.param(4, PRIVATE, "shared", "", id="too much for one of two quotas"),
        pytest.param(5, PRIVATE, "shared", "whole shared quota is VCPU=4", id="for both"),
    ],
)
def test_what_can_never_fit_has_a_bound(
    demand: int, quota: QuotaKind, on_full: str, why: str
) -> None:
    asked = kind(demand, quota=quota, on_full=OnPrivateFull[on_full.upper()])
    found = ceilings().why("u", asked)
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("asked", "hosts", "why"),
    [
        ({"VGPU": 1}, [{"VCPU": 8}], "asks for VGPU=1, but no host has VGPU"),
        ({"VCPU": 1, "VGPU": 1}, [{"VCPU": 8}], "asks for VGPU=1, but no host has VGPU"),
        ({"VCPU": 9}, [{"VCPU": 8}, {"VCPU": 4}], "the largest host has VCPU=8"),
        (
            {"VCPU": 4, "VGPU": 1}, [{"VCPU": 8}, {"VCPU": 2, "VGPU": 1}],
            "but no single host has all of it",
        ),
        ({"VCPU": 2, "VGPU": 1}, [{"VCPU": 8}, {"VCPU": 2, "VGPU": 1}], ""),
        ({"VCPU": 99}, [], ""),
    ],
    ids=["no such class", "beside another", "too large", "on no single one", "fits", "none known"],
)  # fmt: skip
def test_a_request_must_fit_one_host(
    asked: Mapping[str, int], hosts: Sequence[Mapping[str, int]], why: str
) -> None:
    found = ceilings(
        hosts=tuple(map(Resources.of, hosts)), installed=Resources.of(VCPU=99, VGPU=9)
        if why == "but no single host has all of it" or not why else vcpus(12),
    )  # fmt: skip
    demand = RequestClass(
        association_id=1, demand=Resources.of(asked), quota=SHARED,
        on_private_full=OnPrivateFull.QUEUE,
    )  # fmt: skip
    said = found.why("root", demand)
    assert why in said
    assert bool(said) == bool(why)


def test_a_quota_that_holds_no_server_and_a_class_that_no_quota_bounds() -> None:
    nodes = (ROOT, QuotaNode(node_id="u", parent_id="root", private=vcpus(4), max_servers=0))
    private = kind(1, quota=PRIVATE)
    assert "the private quota holds none" in ceilings(nodes=nodes).why("u", private)
    nodes = (ROOT, QuotaNode(node_id="u", parent_id="root", private=vcpus(4)))
    whole = Resources.of(VCPU=16, DISK_GB=100)
    bounded = ceilings(nodes=nodes, installed=whole, hosts=(whole,), limited=frozenset({"VCPU"}))
    disk = RequestClass(
        association_id=1,
        demand=Resources.of(VCPU=4, DISK_GB=99),
        quota=PRIVATE,
        on_private_full=OnPrivateFull.QUEUE,
    )
    assert bounded.why("u", disk) == ""


def test_quotas_beyond_the_cloud_reject_nobody() -> None:
    """Whoever set them too high may set them right: the queue must outlive the mistake."""
    nodes = (ROOT, QuotaNode(node_id="p", parent_id="root", private=vcpus(99_999), lend_limit=NOTHING),
             QuotaNode(node_id="u", parent_id="root"))  # fmt: skip
    assert ceilings(nodes=nodes).why("u", kind(8)) == ""


def test_what_may_be_lent_is_not_out_of_reach() -> None:
    lends = QuotaNode(node_id="p", parent_id="root", private=vcpus(6), lend_limit=vcpus(5))
    nodes = (ROOT, lends, QuotaNode(node_id="u", parent_id="root"))
    assert ceilings(nodes=nodes).why("u", kind(5)) == ""
    assert "whole shared quota is VCPU=5" in ceilings(nodes=nodes).why("u", kind(6))


def test_a_newcomer_is_judged_by_the_hosts_only() -> None:
    assert ceilings().why("a newcomer", kind(5, quota=PRIVATE)) == ""
    assert ceilings().why("a newcomer", kind(9, quota=PRIVATE)) != ""


amounts = st.dictionaries(st.sampled_from(["VCPU", "VGPU"]), st.integers(0, 9), max_size=2)
maybe = st.none() | amounts
kinds = st.tuples(
    st.integers(1, 3), amounts, st.sampled_from(QuotaKind), st.sampled_from(OnPrivateFull)
)


@given(
    st.lists(kinds, min_size=1, max_size=12),
    st.lists(amounts, max_size=3),
    amounts,
    st.tuples(maybe, maybe, maybe),
    st.tuples(maybe, maybe, maybe),
    st.none() | st.integers(0, 1),
)
def test_a_round_and_the_intake_say_the_same(
    asked: Sequence[tuple[int, Mapping[str, int], QuotaKind, OnPrivateFull]],
    hosts: Sequence[Mapping[str, int]],
    unmanaged: Mapping[str, int],
    borrow: tuple[Mapping[str, int] | None, Mapping[str, int] | None, Mapping[str, int] | None],
    lend: tuple[Mapping[str, int] | None, Mapping[str, int] | None, Mapping[str, int] | None],
    servers: int | None,
) -> None:
    def limit(value: Mapping[str, int] | None) -> Resources | None:
        return None if value is None else Resources.of(value)

    state = QuotaState(
        installed=Resources.of(VCPU=12, VGPU=12),
        hosts=tuple(map(Resources.of, hosts)),
        unmanaged=(Owner(project_id="x", name="x", private=Resources.of(unmanaged)),),
        nodes=(
            ROOT,
            *(
                QuotaNode(
                    node_id=f"u{n}", parent_id="root", private=vcpus(n), max_servers=servers,
                    borrow_limit=limit(borrow[n - 1]), lend_limit=limit(lend[n - 1]),
                )
                for n in (1, 2, 3)
            ),
        ),
    )  # fmt: skip
    tree = QuotaTree(state, ("VCPU", "VGPU"))
    queue = WaitingQueue()
    classes: dict[int, RequestClass] = {}
    for association, demand, quota, on_full in asked:
        one = RequestClass(
            association_id=association, demand=Resources.of(demand), quota=quota,
            on_private_full=on_full,
        )  # fmt: skip
        class_id = next((key for key, known in classes.items() if known == one), len(classes) + 1)
        classes[class_id] = one
        queue.add(class_id, one, rid(class_id), 1.0)
    waiting = queue.snapshot()
    columns = np.zeros((len(waiting.demand), 2), dtype=np.int64)
    columns[:, [tree.resource_classes.index(n) for n in waiting.resource_classes]] = waiting.demand
    leaf = np.array([0, *(tree.row[f"u{n}"] for n in (1, 2, 3))])
    in_a_round = NeverFits(tree).among(waiting, leaf, columns)
    at_intake = {
        key: why
        for key, one in classes.items()
        if (why := Ceilings(tree).why(f"u{one.association_id}", one))
    }
    assert in_a_round == at_intake


def test_each_class_of_the_queue_is_looked_at_once() -> None:
    tree = ceilings().tree
    never, queue = NeverFits(tree), WaitingQueue()
    leaf = np.array([0, tree.row["u"]])
    for class_id, one in enumerate([kind(9), kind(1), kind(5)], start=7):
        queue.add(class_id, one, rid(class_id), 1.0)
    waiting = queue.snapshot()
    found = never.among(waiting, leaf, waiting.demand)
    assert found.keys() == {7, 9}
    queue.remove(7, rid(7), 1.0)
    queue.add(300, kind(6), rid(300), 1.0)
    waiting = queue.snapshot()
    assert never.among(waiting, leaf, waiting.demand).keys() == {9, 300}

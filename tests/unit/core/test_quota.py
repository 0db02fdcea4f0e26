from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synergy.core.errors import InvalidInput
from synergy.core.model import NOTHING, Resources
from synergy.core.quota import (
    Claim,
    Owner,
    QuotaBook,
    QuotaNode,
    QuotaState,
    QuotaTree,
    SharedSize,
    shared_size,
)
from synergy.core.reasons import Reason


def vcpus(amount: int) -> Resources:
    return Resources.of(VCPU=amount)


def node(name: str, parent: str = "root", **values: Any) -> QuotaNode:
    return QuotaNode(node_id=name, parent_id=parent, **values)


ROOT = QuotaNode(node_id="root", parent_id=None)


def taken(name: str, amount: int, *, private: bool) -> Claim:
    """Return what holds so many VCPU of its owner's private quota, or of the shared one."""
    return Claim(name, private=vcpus(amount)) if private else Claim(name, shared=vcpus(amount))


def book(total: int, *nodes: QuotaNode, claims: Sequence[Claim] = (), **state: Any) -> QuotaBook:
    whole = QuotaState(
        total=vcpus(total),
        installed=vcpus(total),
        hosts=(vcpus(total),),
        nodes=(ROOT, *nodes),
        **state,
    )
    return QuotaBook(QuotaTree(whole, ("VCPU",)), claims)


def test_the_shared_quota_is_what_nobody_owns() -> None:
    size = shared_size(Resources.of(VCPU=10, VGPU=2), [vcpus(3), vcpus(4)])
    assert size.shared == Resources.of(VCPU=3, VGPU=2)
    assert size.shortfall == NOTHING


def test_a_shortfall_in_one_class_leaves_the_others_shared() -> None:
    size = shared_size(Resources.of(VCPU=10, MEMORY_MB=100), [Resources.of(VCPU=12, MEMORY_MB=50)])
    assert size == SharedSize(shared=Resources.of(MEMORY_MB=50), shortfall=vcpus(2))


def test_an_owner_whose_quota_was_set_below_its_use_counts_with_its_use() -> None:
    owners = [
        node(name, private=vcpus(amount), lend_limit=NOTHING)
        for name, amount in (("owner", 2), ("idle", 4))
    ]
    found = book(16, *owners, claims=[Claim("owner", private=vcpus(8))])
    assert found.size() == SharedSize(shared=vcpus(4), shortfall=NOTHING)
    assert found.pool.tolist() == [4]
    guest = np.array([5])
    assert found.blocks_shared(0, guest) is Reason.NO_FREE_QUOTA
    assert found.blocks_private(found.tree.row["idle"], np.array([4])) is None


def test_a_project_that_is_not_managed_counts_with_its_use_too() -> None:
    one = Owner(project_id="x", name="x", private=vcpus(2), used=Resources.of(VCPU=5, DISK_GB=9))
    assert one.guaranteed == Resources.of(VCPU=5, DISK_GB=9)
    assert book(10, unmanaged=(one,)).size().shared == vcpus(5)


def test_what_is_lent_covers_a_shortfall_first() -> None:
    owners = (
        node("a", private=vcpus(8), lend_limit=None),
        node("b", private=vcpus(4), lend_limit=NOTHING),
    )
    found = book(10, *owners)
    assert found.size().shortfall == vcpus(2)
    assert found.pool.tolist() == [6]
    assert not any(found.disabled)
    found.hold_shared(0, np.array([6]))
    assert found.blocks_private(found.tree.row["b"], np.array([4])) is None
    assert found.blocks_private(found.tree.row["a"], np.array([1])) is Reason.AWAITING_EXPIRY


def test_a_shortfall_stops_only_who_asks_for_what_is_short() -> None:
    whole = Resources.of(VCPU=8, VGPU=2)
    state = QuotaState(
        total=whole,
        installed=whole,
        hosts=(whole,),
        nodes=(ROOT, node("p", private=Resources.of(VCPU=2, VGPU=3), lend_limit=NOTHING)),
    )
    found = QuotaBook(QuotaTree(state, ("VCPU", "VGPU")))
    assert found.size() == SharedSize(shared=Resources.of(VCPU=6), shortfall=Resources.of(VGPU=1))
    assert found.blocks_shared(0, np.array([6, 0])) is None
    assert found.blocks_shared(0, np.array([7, 0])) is Reason.NO_FREE_QUOTA
    assert found.blocks_shared(0, np.array([1, 1])) is Reason.SHARED_QUOTA_DISABLED


def test_a_quota_of_a_class_that_no_host_has_takes_nothing_from_the_others() -> None:
    state = QuotaState(
        total=vcpus(8),
        installed=vcpus(8),
        hosts=(vcpus(8),),
        nodes=(ROOT, node("p", private=Resources.of(VCPU=2, FOO=4), lend_limit=NOTHING)),
    )
    assert state.size() == SharedSize(shared=vcpus(6), shortfall=Resources.of(FOO=4))
    assert state.no_host_has(Resources.of(VCPU=1, FOO=4)) == Resources.of(FOO=4)


def test_what_comes_back_to_its_owner_bit_by_bit_is_not_borrowed_again() -> None:
    found = book(8, node("a", private=vcpus(8), lend_limit=None), node("c"),
                 claims=[Claim("c", shared=vcpus(7))])  # fmt: skip
    a = found.tree.row["a"]
    assert found.blocks_private(a, np.array([4])) is Reason.AWAITING_EXPIRY
    assert found.blocks_shared(found.tree.row["c"], np.array([1])) is None
    found.reclaim(a, np.array([4]), 5)  # two of the five are all that the private quota holds
    assert found.blocks_shared(found.tree.row["c"], np.array([1])) is Reason.NO_FREE_QUOTA
    assert found.pool.tolist() == [0]
    assert found.private_used.sum() == 0


def test_borrowers_on_a_host_that_is_down_keep_no_owner_from_a_living_one() -> None:
    """16 VCPU are installed and 8 are up. 8 are borrowed, as far as is known all on the host that
    is down: their owner may have what is there, and Placement tells which host has room."""
    state = QuotaState(
        total=vcpus(8),
        installed=vcpus(16),
        hosts=(vcpus(8),),
        nodes=(ROOT, node("a", private=vcpus(8), lend_limit=None), node("c")),
    )
    found = QuotaBook(QuotaTree(state, ("VCPU",)), [Claim("c", shared=vcpus(8))])
    assert found.blocks_shared(found.tree.row["c"], np.array([1])) is Reason.NO_FREE_QUOTA
    assert found.blocks_private(found.tree.row["a"], np.array([8])) is None
    full = QuotaBook(QuotaTree(state, ("VCPU",)), [Claim("c", shared=vcpus(12))])
    assert full.blocks_private(full.tree.row["a"], np.array([5])) is Reason.AWAITING_EXPIRY


@pytest.mark.parametrize(
    ("domain_lends", "project_lends", "used", "lent"),
    [
        pytest.param(None, NOTHING, 0, 0, id="nothing is lent by default"),
        pytest.param(None, None, 0, 6, id="all that is idle"),
        pytest.param(None, None, 4, 2, id="what is used is not idle"),
        pytest.param(None, vcpus(3), 0, 3, id="no more than the project's limit"),
        pytest.param(vcpus(1), vcpus(3), 0, 1, id="no more than the domain's limit"),
        pytest.param(None, None, 9, 0, id="use beyond a quota that was lowered lends nothing"),
    ],
)
def test_idle_private_quota_is_lent_within_the_limits_above_it(
    domain_lends: Resources | None, project_lends: Resources | None, used: int, lent: int
) -> None:
    tree = (
        node("d", lend_limit=domain_lends),
        node("p", "d", private=vcpus(6), lend_limit=project_lends),
        node("u", "p"),
    )
    found = book(10, *tree, claims=[Claim("u", private=vcpus(used))])
    assert found.lendable().tolist() == [lent]
    assert found.pool.tolist() == [10 - max(6, used) + lent]


def test_private_and_shared_use_are_accounted_apart() -> None:
    tree = (node("p", private=vcpus(4)), node("u", "p"))
    found = book(10, *tree, claims=[Claim("u", private=vcpus(4), shared=vcpus(6))])
    row = found.tree.row["u"]
    one = np.array([1])
    assert found.blocks_private(row, one) is Reason.NO_FREE_QUOTA
    assert found.blocks_shared(row, one) is Reason.NO_FREE_QUOTA
    emptied = book(10, *tree, claims=[Claim("u", shared=vcpus(6))])
    assert emptied.blocks_private(row, one) is None


def test_a_limit_bounds_only_the_classes_it_names_and_an_empty_one_all() -> None:
    whole = QuotaState(
        total=Resources.of(VCPU=9, VGPU=9),
        nodes=(ROOT, node("a", borrow_limit=vcpus(1)), node("b", borrow_limit=NOTHING)),
    )
    found = QuotaBook(QuotaTree(whole, ("VCPU", "VGPU")))
    assert found.blocks_shared(1, np.array([0, 9])) is None
    assert found.blocks_shared(1, np.array([2, 0])) is Reason.USER_LIMIT
    assert found.blocks_shared(2, np.array([0, 1])) is Reason.USER_LIMIT


def test_a_node_before_its_parent_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'u' comes before its parent"):
        book(1, node("u", "p"), node("p"))


moves = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.integers(1, 4)), max_size=40
)


@given(moves)
def test_whatever_is_held_in_any_order_the_guarantees_hold(
    moves: Sequence[tuple[str, bool, int]],
) -> None:
    tree = (
        node("d", borrow_limit=vcpus(7)),
        node("p", "d", private=vcpus(3), lend_limit=vcpus(2)),
        node("a", "p"),
        node("b", "p", borrow_limit=vcpus(2)),
        node("q", private=vcpus(2), lend_limit=NOTHING),
        node("c", "q"),
    )
    found = book(12, *tree)
    claims: dict[tuple[str, bool], int] = {}
    for name, private, amount in moves:
        row, demand = found.tree.row[name], np.array([amount])
        blocked = found.blocks_private(row, demand) if private else found.blocks_shared(row, demand)
        if blocked is None:
            (found.hold_private if private else found.hold_shared)(row, demand)
            claims[name, private] = claims.get((name, private), 0) + amount
        shared = {n: claims.get((n, False), 0) for n in "abc"}
        assert sum(claims.values()) <= 12
        assert claims.get(("a", True), 0) + claims.get(("b", True), 0) <= 3
        assert claims.get(("c", True), 0) <= 2
        assert shared["b"] <= 2
        assert shared["a"] + shared["b"] <= 7
        assert sum(shared.values()) <= found.pool[0]
    again = book(
        12, *tree,
        claims=[taken(n, v, private=p) for (n, p), v in claims.items()],
    )  # fmt: skip
    assert again.pool.tolist() == found.pool.tolist()
    assert again.shared_used.tolist() == found.shared_used.tolist()
    assert again.private_used.tolist() == found.private_used.tolist()


def test_what_no_quota_bounds_a_private_server_takes_from_what_is_there() -> None:
    amounts = Resources.of(VCPU=10, DISK_GB=100)
    whole = QuotaState(
        total=amounts, installed=amounts, hosts=(amounts,), limited=frozenset({"VCPU"}),
        nodes=(
            QuotaNode(node_id="root", parent_id=None),
            QuotaNode(
                node_id="p", parent_id="root", private=Resources.of(VCPU=4), lend_limit=NOTHING
            ),
        ),
    )  # fmt: skip
    tree = QuotaTree(whole, ("DISK_GB", "VCPU"))
    book = QuotaBook(tree, [Claim("p", private=Resources.of(VCPU=1, DISK_GB=30))])
    assert tree.resources(book.pool_free()) == Resources.of(VCPU=6, DISK_GB=70)
    one = tree.amounts(Resources.of(VCPU=1, DISK_GB=30))
    assert book.blocks_private(1, one) is None
    book.hold_private(1, one)
    assert tree.resources(book.pool_free()) == Resources.of(VCPU=6, DISK_GB=40)
    assert book.blocks_private(1, tree.amounts(Resources.of(VCPU=3))) is not None
    assert book.blocks_shared(1, tree.amounts(Resources.of(DISK_GB=41))) is not None


history = st.lists(
    st.tuples(
        st.sampled_from(["own", "borrow", "end", "quota"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 6),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(history)
def test_the_guarantees_fit_beside_what_is_borrowed_whatever_quotas_are_set(
    steps: Sequence[tuple[str, str, int]],
) -> None:
    """An operator sets quotas below use, or as high as what nobody uses or owns allows: in every
    state everybody could start all that he owns at once. Each state is computed anew."""
    whole, quotas = 10, {"a": 5, "b": 3, "c": 0}
    claims: dict[tuple[str, bool], list[int]] = {
        (name, own): [] for name in quotas for own in (True, False)
    }

    def now() -> QuotaBook:
        owners = [
            node(name, private=vcpus(amount), lend_limit=NOTHING) for name, amount in quotas.items()
        ]
        return book(whole, *owners, claims=[
            taken(name, sum(servers), private=own)
            for (name, own), servers in claims.items()
        ])  # fmt: skip

    for act, name, amount in steps:
        found = now()
        row, demand = found.tree.row[name], np.array([amount])
        if act == "own" and found.blocks_private(row, demand) is None:
            claims[name, True].append(amount)
        elif act == "borrow" and found.blocks_shared(row, demand) is None:
            claims[name, False].append(amount)
        elif act == "end" and claims[name, amount % 2 == 0]:
            claims[name, amount % 2 == 0].pop()
        elif act == "quota":
            more = amount - max(quotas[name], sum(claims[name, True]))
            if more <= int(found.pool_free()[0]):
                quotas[name] = amount
        used = {n: sum(claims[n, True]) for n in quotas}
        borrowed = sum(sum(claims[n, False]) for n in quotas)
        assert borrowed + sum(max(quotas[n], used[n]) for n in quotas) <= whole
        found = now()
        for n in quotas:
            room = quotas[n] - used[n]
            assert room <= 0 or found.blocks_private(found.tree.row[n], np.array([room])) is None

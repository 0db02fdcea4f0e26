import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.errors import InvalidInput
from synergy.core.model import NOTHING, Resources
from synergy.core.quota import Held, QuotaBook, QuotaNode, QuotaState, QuotaTree, shared_size
from synergy.core.reasons import Reason


def vcpus(amount):
    return Resources.of(VCPU=amount)


def node(name, parent="root", **values):
    return QuotaNode(node_id=name, parent_id=parent, **values)


ROOT = QuotaNode(node_id="root", parent_id=None)


def book(total, *nodes, held=(), **state):
    whole = QuotaState(
        total=vcpus(total),
        installed=vcpus(total),
        largest=vcpus(total),
        nodes=(ROOT, *nodes),
        **state,
    )
    return QuotaBook(QuotaTree(whole, ("VCPU",)), held)


def test_the_shared_quota_is_what_nobody_owns():
    size = shared_size(Resources.of(VCPU=10, VGPU=2), [vcpus(3), vcpus(4)])
    assert size.shared == Resources.of(VCPU=3, VGPU=2)
    assert size.shortfall == NOTHING


def test_a_shortfall_disables_the_shared_quota_and_says_by_how_much():
    size = shared_size(Resources.of(VCPU=10, MEMORY_MB=100), [Resources.of(VCPU=12, MEMORY_MB=50)])
    assert size.shared == NOTHING
    assert size.shortfall == vcpus(2)


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
    domain_lends, project_lends, used, lent
):
    tree = (
        node("d", lend_limit=domain_lends),
        node("p", "d", private=vcpus(6), lend_limit=project_lends),
        node("u", "p"),
    )
    found = book(10, *tree, held=[Held("u", private=vcpus(used))])
    assert found.lendable().tolist() == [lent]
    assert found.pool.tolist() == [4 + lent]


def test_private_and_shared_use_are_accounted_apart():
    tree = (node("p", private=vcpus(4)), node("u", "p"))
    found = book(10, *tree, held=[Held("u", private=vcpus(4), shared=vcpus(6))])
    row = found.tree.row["u"]
    one = np.array([1])
    assert found.blocks_private(row, one) is Reason.NO_FREE_QUOTA
    assert found.blocks_shared(row, one) is Reason.NO_FREE_QUOTA
    emptied = book(10, *tree, held=[Held("u", shared=vcpus(6))])
    assert emptied.blocks_private(row, one) is None


def test_a_limit_bounds_only_the_classes_it_names_and_an_empty_one_all():
    whole = QuotaState(
        total=Resources.of(VCPU=9, VGPU=9),
        nodes=(ROOT, node("a", borrow_limit=vcpus(1)), node("b", borrow_limit=NOTHING)),
    )
    found = QuotaBook(QuotaTree(whole, ("VCPU", "VGPU")))
    assert found.blocks_shared(1, np.array([0, 9])) is None
    assert found.blocks_shared(1, np.array([2, 0])) is Reason.USER_LIMIT
    assert found.blocks_shared(2, np.array([0, 1])) is Reason.USER_LIMIT


def test_a_class_the_cloud_lacks_never_fits():
    whole = QuotaState(total=vcpus(4), installed=vcpus(4), largest=vcpus(4))
    assert "VGPU" in whole.never_fits("root", Resources.of(VGPU=1), private=False)


@pytest.mark.parametrize(
    ("demand", "private", "told"),
    [
        pytest.param(4, False, "", id="fits"),
        pytest.param(9, False, "largest host has VCPU=8", id="no host is that large"),
        pytest.param(7, False, "may borrow VCPU=6", id="beyond the borrow limit"),
        pytest.param(5, False, "whole shared quota is VCPU=4", id="beyond the shared quota"),
        pytest.param(3, True, "private quota is VCPU=2", id="beyond the private quota"),
        pytest.param(2, True, "", id="fits the private quota"),
    ],
)
def test_what_can_never_fit_is_told_with_its_bound(demand, private, told):
    whole = QuotaState(
        total=NOTHING,  # every host is down just now: that does not count against anyone
        installed=vcpus(16),
        largest=vcpus(8),
        unmanaged=vcpus(10),
        nodes=(
            ROOT,
            node("p", private=vcpus(2), borrow_limit=vcpus(6), lend_limit=NOTHING),
            node("u", "p"),
        ),
    )
    why = whole.never_fits("u", vcpus(demand), private=private)
    assert told in why
    assert bool(why) == bool(told)


def test_a_node_before_its_parent_is_refused():
    with pytest.raises(InvalidInput, match="'u' comes before its parent"):
        book(1, node("u", "p"), node("p"))


moves = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.integers(1, 4)), max_size=40
)


@given(moves)
def test_whatever_is_held_in_any_order_the_guarantees_hold(moves):
    tree = (
        node("d", borrow_limit=vcpus(7)),
        node("p", "d", private=vcpus(3), lend_limit=vcpus(2)),
        node("a", "p"),
        node("b", "p", borrow_limit=vcpus(2)),
        node("q", private=vcpus(2), lend_limit=NOTHING),
        node("c", "q"),
    )
    found = book(12, *tree)
    held = {}
    for name, private, amount in moves:
        row, demand = found.tree.row[name], np.array([amount])
        blocked = found.blocks_private(row, demand) if private else found.blocks_shared(row, demand)
        if blocked is None:
            (found.hold_private if private else found.hold_shared)(row, demand)
            held[name, private] = held.get((name, private), 0) + amount
        shared = {n: held.get((n, False), 0) for n in "abc"}
        assert sum(held.values()) <= 12
        assert held.get(("a", True), 0) + held.get(("b", True), 0) <= 3
        assert held.get(("c", True), 0) <= 2
        assert shared["b"] <= 2
        assert shared["a"] + shared["b"] <= 7
        assert sum(shared.values()) <= found.pool[0]
    again = book(
        12, *tree,
        held=[Held(n, **{"private" if p else "shared": vcpus(v)}) for (n, p), v in held.items()],
    )  # fmt: skip
    assert again.pool.tolist() == found.pool.tolist()
    assert again.shared_used.tolist() == found.shared_used.tolist()
    assert again.private_used.tolist() == found.private_used.tolist()


def test_what_no_quota_bounds_a_private_server_takes_from_what_is_there():
    amounts = Resources.of(VCPU=10, DISK_GB=100)
    whole = QuotaState(
        total=amounts, installed=amounts, largest=amounts, limited=frozenset({"VCPU"}),
        nodes=(
            QuotaNode(node_id="root", parent_id=None),
            QuotaNode(
                node_id="p", parent_id="root", private=Resources.of(VCPU=4), lend_limit=NOTHING
            ),
        ),
    )  # fmt: skip
    assert whole.never_fits("p", Resources.of(VCPU=4, DISK_GB=50), private=True) == ""
    assert "VCPU=5, but the private quota is VCPU=4" in whole.never_fits(
        "p", Resources.of(VCPU=5, DISK_GB=1), private=True
    )
    assert whole.never_fits("a newcomer", Resources.of(VCPU=5), private=True) == ""
    tree = QuotaTree(whole, ("DISK_GB", "VCPU"))
    book = QuotaBook(tree, [Held("p", private=Resources.of(VCPU=1, DISK_GB=30))])
    assert tree.resources(book.pool_free()) == Resources.of(VCPU=6, DISK_GB=70)
    one = tree.amounts(Resources.of(VCPU=1, DISK_GB=30))
    assert book.blocks_private(1, one) is None
    book.hold_private(1, one)
    assert tree.resources(book.pool_free()) == Resources.of(VCPU=6, DISK_GB=40)
    assert book.blocks_private(1, tree.amounts(Resources.of(VCPU=3))) is not None
    assert book.blocks_shared(1, tree.amounts(Resources.of(DISK_GB=41))) is not None

from typing import Any

from synergy.core.model import NOTHING, Resources
from synergy.core.quota import Owner
from synergy.core.shortfall import Balance, causes


def vcpus(amount: int) -> Resources:
    return Resources.of(VCPU=amount)


def owner(name: str, private: int = 0, used: int = 0, **more: Any) -> Owner:
    return Owner(project_id=name, name=name, private=vcpus(private), used=vcpus(used), **more)


def balance(*owners: Owner, **hosts: Any) -> Balance:
    return Balance(
        capacity={name: vcpus(amount) for name, amount in hosts.items()},
        owners={one.project_id: one for one in owners},
    )


def test_what_nobody_owns_and_what_is_missing() -> None:
    found = balance(owner("a", 4, 6), owner("b", 3), n1=8)
    assert (found.size().shared, found.size().shortfall) == (NOTHING, vcpus(1))


def test_the_change_that_caused_a_shortfall_has_its_values_before_and_after() -> None:
    before = balance(owner("a", 4), owner("b", 4, 2), owner("c", 1), n1=8, n2=8)
    after = balance(owner("a", 99_999), owner("b", 1, 6), owner("d", 3, 1), n1=8, n2=6)
    assert causes(before, after, "VCPU") == [
        "project a: private quota VCPU 4 -> 99,999",
        "project d: private quota VCPU 0 -> 3, use VCPU 0 -> 1",
        "project b: private quota VCPU 4 -> 1, use VCPU 2 -> 6",
        "host n2 has less: VCPU 8 -> 6",
    ]
    gone = balance(owner("a", 4), owner("b", 4, 2), owner("c", 1), n1=8)
    assert causes(before, gone, "VCPU") == ["host n2 is down or gone: VCPU 8 -> 0"]
    assert causes(before, before, "VCPU") == []


def test_at_the_first_look_every_owner_is_named_the_largest_first() -> None:
    found = balance(owner("small", 1), owner("large", 5), owner("none"), n1=4)
    assert causes(None, found, "VCPU") == ["project large: VCPU 5", "project small: VCPU 1"]


def test_a_quota_below_its_use_and_one_without_limit_are_told() -> None:
    found = balance(
        owner("a", 4, 6), owner("b", 4, 4), owner("c", 0, 2, unlimited=frozenset({"VCPU"}))
    )
    assert found.below_use() == [
        "project a uses 6 VCPU, and its private quota is 4: it counts with what it uses"
    ]
    assert found.without_limit("VCPU") == ["c"]

from typing import Any

import pytest

from synergy.core import accounts, shares
from synergy.core.errors import InvalidInput
from synergy.core.model import Association, Domain, Project

DOMAIN = Domain(domain_id="d", name="D")


def project(name: str, **changes: Any) -> Project:
    return Project(project_id=name, name=name, domain_id="d", **changes)


def user(number: int, of: str, **changes: Any) -> Association:
    return Association(
        association_id=number, project_id=of, user_id=f"u{number}", user_name="n", **changes
    )


def test_priority_is_the_users_else_of_the_nearest_project_above_else_nothing() -> None:
    projects = [
        project("top", priority=5),
        project("middle", parent_id="top"),
        project("low", parent_id="middle"),
        project("other"),
        project("zero", parent_id="top", priority=0),
    ]
    users = [
        user(1, "low"), user(2, "low", priority=9), user(3, "other"), user(4, "zero"),
        user(5, "top"), user(6, "gone"),
    ]  # fmt: skip
    assert accounts.priorities(projects, users) == {1: 5, 2: 9, 3: 0, 4: 0, 5: 5, 6: 0}


def test_users_who_left_are_no_nodes_and_count_for_their_project() -> None:
    users = [user(1, "p"), user(2, "p", active=False), user(3, "gone")]
    nodes = accounts.share_nodes([DOMAIN], [project("p", raw_shares=None)], users)
    assert [node.node_id for node in nodes] == ["root", "domain:d", "project:p", "user:1"]
    assert [accounts.usage_node(one) for one in users[:2]] == ["user:1", "project:p"]
    tree = shares.build(nodes)
    assert tree.inherits.tolist() == [False, True, True, False]


def test_a_nested_project_is_below_the_one_above_if_that_is_managed() -> None:
    nodes = accounts.share_nodes(
        [DOMAIN], [project("a", parent_id="b"), project("b", parent_id="c")], []
    )
    assert {node.node_id: node.parent_id for node in nodes} == {
        "root": None, "domain:d": "root", "project:a": "project:b", "project:b": "domain:d",
    }  # fmt: skip
    with pytest.raises(InvalidInput, match="does not exist"):
        shares.build(accounts.share_nodes([], [project("a")], []))

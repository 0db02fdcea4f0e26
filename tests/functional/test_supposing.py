"""What if: the living queue is run to its end under other rules, and nothing is written."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import sqlalchemy

from synergy.core.errors import InvalidInput, NotFound
from synergy.core.model import Association, Resources
from synergy.core.queue import Waiting
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec
from synergy.sim.engine import Plugins
from tests.builders import World, project_spec, spec, world

NONE = {"VCPU": 0, "MEMORY_MB": 0}


def cloud() -> CloudSpec:
    return spec(
        hosts=tuple(
            HostSpec(name=f"node{n}", inventory=Resources.of(VCPU=4, MEMORY_MB=65_536))
            for n in (1, 2)
        ),
        flavors=(
            FlavorSpec(name="one", vcpus=1, memory_mb=1),
            FlavorSpec(name="four", vcpus=4, memory_mb=1),
            FlavorSpec(name="eight", vcpus=8, memory_mb=1),
        ),
        projects=(
            project_spec("A", users={"ua": "alice"}, quota=NONE),
            project_spec("B", users={"ub": "bob"}, quota=NONE),
        ),
        boot_s=0.1,
    )  # fmt: skip


@pytest.fixture
def made() -> Iterator[World]:
    """Eight servers of A run for an hour; of A and of B ten wait each, A's first."""
    with world(cloud()) as found:
        for name in "AB":
            found.add(name, default_quota="shared", ttl_s=3600)
        found.run(5)
        for user, project in (("alice", "A"), ("bob", "B")):
            count = 18 if project == "A" else 10
            found.nova.create_server(
                user=user, name="s", count=count, project=project, flavor="one", metadata={}
            )
            found.run(5)
        found.run(600)
        yield found


def ask(made: World, **supposed: Any) -> Any:
    return made.command("scheduler", "what_if", **supposed)


def of(told: dict[str, Any], name: str) -> Any:
    return next(one for one in told["projects"] if one["name"] == name)


def rows_of(made: World) -> dict[str, list[str]]:
    """Return every row of every table."""
    engine = made.engine.store._engine
    tables = sqlalchemy.inspect(engine).get_table_names()
    with engine.connect() as connection:
        return {
            name: sorted(map(repr, connection.execute(sqlalchemy.text(f"select * from {name}"))))
            for name in tables
        }


EVERYTHING: dict[str, Any] = {
    "projects": {
        "B": {"raw_shares": 9, "borrow_limit": {"VCPU": 2}},
        "A": {"private": {"VCPU": 1}},
    },
    "policy": {"discipline": "fifo", "weight_age": 5},
    "half_life_s": 600,
    "hosts_down": ["node1"],
    "hosts_added": [{"VCPU": 16, "MEMORY_MB": 65_536}],
    "requests": [{"project": "B", "user": "bob", "flavor": "four", "count": 3}],
}


def test_nothing_is_written_whatever_is_supposed(made: World) -> None:
    (waits, *_) = made.command("queue", "list", state=["QUEUED"])
    before = rows_of(made)
    assert sum(map(len, before.values())) > 50
    told = ask(made, **EVERYTHING, withdraw=[waits["id"]])
    assert told["supposed"] == [*EVERYTHING, "withdraw"]
    assert rows_of(made) == before
    assert told["after"]["requests"] == told["before"]["requests"] - 1 + 3


def test_a_rule_that_changes_nothing_shifts_nobody(made: World) -> None:
    told = ask(made, policy={"discipline": "easy"})
    assert told["before"] == told["after"]
    assert (told["before"]["requests"], told["before"]["starts"]) == (20, 20)
    assert told["most_earlier"] == told["most_later"] == []
    assert {(one["same"], one["mean_change_s"]) for one in told["projects"]} == {(10, 0.0)}
    assert told["before"]["utilisation"] > 0.5


def test_a_host_that_is_added_lets_everybody_start_earlier_and_one_that_is_down_later(
    made: World,
) -> None:
    more = ask(made, hosts_added=[{"VCPU": 8, "MEMORY_MB": 65_536}])
    assert sum(one["earlier"] for one in more["projects"]) == 20
    assert all(one["mean_change_s"] < 0 for one in more["projects"])
    assert len(more["most_earlier"]) == 10
    less = ask(made, hosts_down=["node2"])
    assert sum(one["later"] for one in less["projects"]) > 0
    assert all(one["mean_change_s"] >= 0 for one in less["projects"])
    assert less["most_later"][0]["change_s"] == max(one["change_s"] for one in less["most_later"])


def test_shares_and_limits_and_suspension_shift_who_is_meant(made: World) -> None:
    limited = ask(made, projects={"B": {"borrow_limit": {"VCPU": 1}}})
    assert of(limited, "B")["mean_change_s"] > 0
    assert of(limited, "A")["mean_change_s"] <= 0
    stopped = ask(made, projects={"project-B": {"suspended": True}})
    assert of(stopped, "B")["never"] == 10
    assert of(stopped, "A")["earlier"] > 0
    crowd = [{"project": "B", "flavor": "one", "count": 30}]
    even = ask(made, requests=crowd)
    more = ask(made, requests=crowd, projects={"A": {"raw_shares": 900}})
    assert of(more, "A")["mean_change_s"] < of(even, "A")["mean_change_s"]
    own = ask(made, projects={"B": {"private": {"VCPU": 1, "MEMORY_MB": 10}}})
    assert own["after"] != own["before"]
    without = ask(made, policy={"weight_fairshare": 0})
    assert of(without, "A")["mean_change_s"] < 0 < of(without, "B")["mean_change_s"]


def test_what_is_asked_for_and_how_long_age_counts_may_weigh_otherwise(made: World) -> None:
    """B's four ask for more each than A's; A's wait by ones."""
    crowd = [{"project": "B", "flavor": "four", "count": 4}]
    alike = {"weight_fairshare": 0, "weight_age": 1}
    by_age = ask(made, requests=crowd, policy=alike)["hypothetical"]
    by_size = ask(made, requests=crowd, policy={**alike, "weight_tres": {"VCPU": 1000}})
    assert by_size["hypothetical"]["first_start"] < by_age["first_start"]
    ageless = ask(made, policy={**alike, "max_age_s": 0})
    assert ageless["supposed"] == ["policy"]
    assert ageless["after"]["starts"] == 20


class AliceFirst:
    """A priority factor of a site."""

    def points(
        self, waiting: Waiting, associations: Mapping[int, Association], at_s: float
    ) -> np.ndarray[Any, Any]:
        alice = [key for key, one in associations.items() if one.user_name == "alice"]
        return np.where(np.isin(waiting.association, alice), 500_000.0, 0.0)


def test_the_factors_of_a_site_count() -> None:
    """Ten of A wait. B, which has used nothing, would go first by its fair share; the site wants
    A's first."""
    with world(cloud(), plugins=Plugins(site_factors={"alice_first": AliceFirst()})) as found:
        for name in "AB":
            found.add(name, default_quota="shared", ttl_s=3600)
        found.run(5)
        found.nova.create_server(
            user="alice", name="s", count=18, project="A", flavor="one", metadata={}
        )
        found.run(60)
        told = ask(found, requests=[{"project": "B", "flavor": "one", "count": 4}])
        assert of(told, "A")["same"] == 10
        by_share = ask(found, requests=[{"project": "B", "flavor": "one", "count": 4}],
                       policy={"weight_fairshare": 10_000_000})  # fmt: skip
        assert of(by_share, "A")["later"] == 4


def test_a_request_that_is_withdrawn_lets_others_start_and_one_that_comes_is_foreseen(
    made: World,
) -> None:
    waiting = [
        one["id"] for one in made.command("queue", "list", state=["QUEUED"], project_id="project-A")
    ]
    told = ask(made, withdraw=waiting)
    assert (of(told, "B")["later"], told["after"]["requests"]) == (0, 10)
    asked = ask(made, requests=[{"project": "B", "flavor": "one", "count": 2}])["hypothetical"]
    assert (asked["count"], asked["starts"]) == (2, 2)
    never = ask(made, requests=[{"project": "B", "flavor": "eight"}])["hypothetical"]
    assert (never["starts"], never["first_start"]) == (0, None)


def test_what_is_foreseen_is_what_happens_when_every_lifetime_runs_out(made: World) -> None:
    told = ask(made, policy={"discipline": "easy"})
    last = made.command("queue", "list", state=["QUEUED"])
    made.run(3 * 3600)
    assert not made.command("queue", "list", state=["QUEUED"])
    starts = [at for one in last if (at := made.get(one["id"]).held_from)]
    assert len(starts) == len(last)
    foreseen = told["before"]["last_start"]
    assert abs((max(starts) - type(starts[0]).fromisoformat(foreseen)).total_seconds()) < 120


@pytest.mark.parametrize(
    ("supposed", "kind", "told"),
    [
        ({}, InvalidInput, "nothing is supposed: give one of projects, policy"),
        ({"projects": {}}, InvalidInput, "projects is {}, but must be at least 1"),
        ({"hosts_down": []}, InvalidInput, "hosts_down is"),
        ({"projects": {"C": {"raw_shares": 1}}}, NotFound, "project 'C' is not managed"),
        ({"projects": {"A": {}, "project-A": {}}}, InvalidInput, "projects has 'A' twice"),
        ({"hosts_down": ["node9"]}, NotFound, "host 'node9' under hosts_down does not exist"),
        ({"withdraw": ["nobody"]}, NotFound, "request 'nobody' under withdraw does not wait"),
        ({"requests": [{"project": "A", "flavor": "giant"}]}, NotFound, "flavor 'giant' does not"),
        ({"requests": [{"project": "A", "user": "eve", "flavor": "one"}]}, NotFound, "no user 'eve'"),
        ({"policy": {"discipline": "lottery"}}, InvalidInput, "lottery"),
        ({"policy": {"weight_age": -1}}, InvalidInput, "weight_age"),
        ({"policy": {"weight_tres": {"cores": 1}}}, InvalidInput, "cores"),
        ({"policy": {"max_age_s": -1}}, InvalidInput, "max_age_s"),
        ({"projects": {"A": {"ttl_s": 5}}}, InvalidInput, "ttl_s"),
        ({"half_life_s": -5}, InvalidInput, "half_life_s"),
        ({"hosts_added": [{"cores": 3}]}, InvalidInput, "cores"),
    ],
)  # fmt: skip
def test_what_does_not_exist_or_cannot_be_is_refused_with_one_error(
    made: World, supposed: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        ask(made, **supposed)

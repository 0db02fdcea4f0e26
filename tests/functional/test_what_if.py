"""What-if says "starts now" if and only if the next round starts it: hosts, zones, groups, limits
and priorities included."""

import random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from synergy.core.model import Resources
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec
from tests.builders import World, project_spec, spec, world

FLAVORS: dict[str, Any] = {"one": 1, "two": 2, "five": 5, "nine": 9}
USERS: dict[str, Any] = {"A": "alice", "B": "bob"}
ZONES = (None, "az1", "az2", "az9")
SEEDS = (Phase.explicit, Phase.reuse, Phase.generate)  # a seed does not get smaller by shrinking


def cloud(rng: random.Random) -> CloudSpec:
    """Return a cloud of two to four small hosts in two zones."""
    hosts = tuple(
        HostSpec(
            name=f"node{n}", availability_zone=f"az{1 + n % 2}",
            inventory=Resources.of(VCPU=rng.randint(2, 8), MEMORY_MB=65_536),
        )
        for n in range(rng.randint(2, 4))
    )  # fmt: skip
    own = {"VCPU": rng.randint(0, 4), "MEMORY_MB": 10_000}
    return spec(
        hosts=hosts,
        flavors=tuple(FlavorSpec(name=name, vcpus=v, memory_mb=1) for name, v in FLAVORS.items()),
        projects=(
            project_spec("A", users={"ua": "alice"}, quota=own),
            project_spec("B", users={"ub": "bob"}, quota={"VCPU": 0, "MEMORY_MB": 0}),
        ),
        boot_s=0.1,
    )


class Asker:
    """Asks for servers at random, each first as a question and then for real."""

    def __init__(self, made: World, rng: random.Random) -> None:
        self.made, self.rng = made, rng

    def request_options(self) -> dict[str, Any]:
        rng = self.rng
        project = rng.choice(list(USERS))
        metadata = {}
        if rng.random() < 0.7:
            metadata["quota"] = rng.choice(["private", "shared"])
        if rng.random() < 0.3:
            metadata["synergy:nice"] = str(rng.choice([0, 100]))
        return {
            "project": project,
            "flavor": rng.choice(list(FLAVORS)),
            "metadata": metadata,
            "availability_zone": rng.choice(ZONES),
            "server_group": rng.choice([None, None, "g1", "g2"]),
        }

    def foreseen(self, wished: dict[str, Any]) -> dict[str, Any]:
        asked = {key: value for key, value in wished.items() if value is not None}
        project = asked.pop("project")
        found: dict[str, Any] = self.made.command(
            "scheduler", "simulate", project_id=f"project-{project}", **asked
        )
        return found

    def create(self, wished: dict[str, Any]) -> Any:
        (server,) = self.made.nova.create_server(
            user=USERS[wished["project"]], name="s", count=1, **wished
        )
        return server


def compare(seed: int, asks: int) -> list[str]:
    rng = random.Random(seed)
    started = []
    with world(cloud(rng), {"nova": {"reconcile_s": 3600.0}}) as made:
        for name in USERS:
            made.add(
                name, ttl_s=36_000, on_private_full=rng.choice(["queue", "reject", "shared"]),
                default_quota=rng.choice(["private", "shared", "private_then_shared"]),
                borrow_limit=rng.choice([None, {"VCPU": 3}]),
            )  # fmt: skip
        made.run(5)
        asker = Asker(made, rng)
        for _ in range(asks):
            wished = asker.request_options()
            foreseen = asker.foreseen(wished)
            server = asker.create(wished)
            made.run(0.9)  # one round; the next one for a group comes after a second
            state = made.get(server).state.value
            starts = state in ("DISPATCHING", "BUILDING", "ACTIVE")
            assert foreseen["starts_now"] == int(starts), (seed, wished, foreseen, state)
            if state == "QUEUED":
                assert made.reason(server) == foreseen["reason"], (seed, wished, foreseen)
            elif not starts:
                assert state == "REJECTED"
                assert "would be refused" in foreseen["text"], (
                    seed,
                    wished,
                    foreseen,
                    made.get(server).why,
                )
            started.append(state)
            made.run(rng.choice([0.2, 30]))
    return started


@settings(max_examples=8, deadline=None, phases=SEEDS)
@given(st.integers(0, 2**32))
def test_what_if_says_starts_now_if_and_only_if_the_next_round_starts_it(seed: int) -> None:
    compare(seed, asks=12)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, phases=SEEDS)
@given(st.integers(0, 2**32))
def test_what_if_agrees_with_the_next_round_over_many_queues(seed: int) -> None:
    compare(seed, asks=25)


def test_the_property_above_sees_every_outcome() -> None:
    seen = {state for seed in range(5) for state in compare(seed, asks=12)}
    assert {"ACTIVE", "QUEUED", "REJECTED"} <= seen


def test_the_smaller_flavors_are_those_that_would_start_whatever_the_discipline() -> None:
    for discipline in ("greedy", "fifo"):
        hosts = (HostSpec(name="node", inventory=Resources.of(VCPU=8, MEMORY_MB=65_536)),)
        flavors = tuple(FlavorSpec(name=n, vcpus=v, memory_mb=1) for n, v in FLAVORS.items())
        described = spec(hosts=hosts, flavors=flavors, projects=(
            project_spec("A", users={"ua": "alice"}, quota={"VCPU": 0, "MEMORY_MB": 0}),
        ))  # fmt: skip
        with world(described, {"scheduler": {"discipline": discipline}}) as made:
            made.add("A", default_quota="shared", ttl_s=36_000)
            made.run(2)
            made.create("five")
            made.run(20)
            (waiting,) = made.create("five")
            made.run(5)
            told = made.command("scheduler", "explain", request_id=waiting)["unblocked_by"]
            assert [one["name"] for one in told["smaller_flavors"]] == ["two", "one"]


def test_members_of_a_group_are_not_foreseen_one_an_end_of_a_lifetime() -> None:
    with world() as made:
        made.add("A", default_quota="shared", ttl_s=86_400)
        made.run(2)
        made.create("small")
        made.run(20)
        told = made.command(
            "scheduler", "simulate", project_id="project-A", flavor="small", count=3,
            metadata={}, server_group="g",
        )  # fmt: skip
        assert told["starts_now"] == 1
        starts = {told["estimated_first_start"], told["estimated_last_start"]}
        assert len(starts) == 1  # at the first instant that is looked at, all of them

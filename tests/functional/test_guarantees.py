"""Whatever happens in whatever order, every private guarantee holds, and nothing leaks.

Random histories through the real managers on the embedded cloud: users of three projects ask for,
delete, hold and release servers; an operator sets quotas and limits, also below use and beyond the
cloud; others' quotas change in Nova; hosts fail and come back.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from synergy.core.accounts import claim_of
from synergy.core.errors import SynergyError
from synergy.core.lifecycle import holds_quota
from synergy.core.model import QuotaKind, Resources, State, total
from synergy.drivers.embedded.faults import Faults
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec
from tests.builders import World, project_spec, spec, world

HOSTS, VCPUS = 3, 8
USERS: dict[str, Any] = {"A": ("alice", "anna"), "B": ("bob",), "C": ("carol",)}
QUOTAS = ("private", "shared", None)  # None: as the project says


def amounts(vcpus: int) -> dict[str, int]:
    return {"VCPU": vcpus, "MEMORY_MB": 10_000}


def cloud() -> CloudSpec:
    return spec(
        hosts=tuple(
            HostSpec(name=f"node{n}", inventory=Resources.of(VCPU=VCPUS, MEMORY_MB=65_536))
            for n in range(HOSTS)
        ),
        flavors=(
            FlavorSpec(name="one", vcpus=1, memory_mb=1),
            FlavorSpec(name="two", vcpus=2, memory_mb=1),
        ),
        projects=(
            project_spec("A", users={"ua": "alice", "ub": "anna"}, quota=amounts(6)),
            project_spec("B", users={"uc": "bob"}, quota=amounts(4)),
            project_spec("C", users={"ud": "carol"}, quota=amounts(0)),
            project_spec("D", users={"ue": "dora"}, quota=amounts(2)),  # not managed
        ),
        boot_s=1.0,
    )


class History:
    """A world, what is done to it, and what must hold afterwards."""

    def __init__(self, made: World, rng: random.Random) -> None:
        self.made, self.rng = made, rng
        self.ids: dict[str, list[str]] = {name: [] for name in USERS}
        for name in USERS:
            default = rng.choice(["private", "shared", "private_then_shared"])
            made.add(name, default_quota=default, ttl_s=rng.choice([30, 600]))
        made.run(2)

    def step(self) -> None:
        name = self.rng.choice(list(USERS))
        act = self.rng.choices(
            [self.create, self.delete, self.hold, self.set_private, self.lend, self.others,
             self.fail, self.fault],
            [8, 6, 1, 1, 1, 1, 1, 1],
        )[0]  # fmt: skip
        with suppress(SynergyError):  # a server that is gone, or a request that does not wait
            act(name)
        self.made.run(self.rng.choice([0.5, 3, 61]))
        self.check()

    def create(self, name: str) -> None:
        quota = self.rng.choice(QUOTAS)
        self.ids[name] += self.made.create(
            self.rng.choice(["one", "two"]), project=name, user=self.rng.choice(USERS[name]),
            count=self.rng.randint(1, 6), **({"quota": quota} if quota else {}),
        )  # fmt: skip

    def delete(self, name: str) -> None:
        if self.ids[name]:
            self.made.nova.delete_server_as_user(self.rng.choice(self.ids[name]))

    def hold(self, name: str) -> None:
        if self.ids[name]:
            command = self.rng.choice(["hold", "release", "cancel"])
            self.made.command("queue", command, request_id=self.rng.choice(self.ids[name]))

    def set_private(self, name: str) -> None:
        self.made.command(
            "project", "set", project=name,
            private=amounts(self.rng.choice([0, 1, 2, 4, 6, 8])),
        )  # fmt: skip

    def lend(self, name: str) -> None:
        lent = self.rng.choice([{}, None, {"VCPU": 2}])
        borrowed = self.rng.choice([None, {"VCPU": 5}])
        self.made.command("project", "set", project=name, lend_limit=lent, borrow_limit=borrowed)

    def others(self, name: str) -> None:
        self.made.nova.set_quota("project-D", {"VCPU": self.rng.choice([0, 2, 8])})

    def fail(self, name: str) -> None:
        self.made.nova.set_host_up(f"node{self.rng.randrange(HOSTS)}", self.rng.random() < 0.7)

    def fault(self, name: str) -> None:
        fault = self.rng.choice(["hand_over", "no_valid_host", "build_error", "lost_notice"])
        setattr(self.made.nova.faults, fault, 1)

    def check(self) -> None:
        """Nothing on a host is more than it has; what is held is what the requests say; nobody
        holds more of a private quota than was his when he took it."""
        made = self.made
        for host in range(HOSTS):
            assert made.nova.used_on(f"node{host}").get("VCPU", 0) <= VCPUS
        with made.store.reading() as uow:
            claims = [claim_of(*entry) for entry in uow.requests.claims()]
            rows = uow.requests.search(limit=100_000)
        of = {quota: [r.demand for r in rows if holds_quota(r) and r.quota is quota]
              for quota in QuotaKind}  # fmt: skip
        assert total(one.private for one in claims) == total(of[QuotaKind.PRIVATE])
        assert total(one.shared for one in claims) == total(of[QuotaKind.SHARED])
        shown = made.command("quota", "show")
        for name in ("total", "shared", "lent", "shared_used", "shared_free", "shortfall"):
            assert all(amount >= 0 for amount in shown[name].values())

    def settle(self) -> None:
        """Mend everything, and let everybody ask for what is guaranteed: it is given at once."""
        made = self.made
        for host in range(HOSTS):
            made.nova.set_host_up(f"node{host}", up=True)
        made.nova.set_quota("project-D", {"VCPU": 2})
        made.nova.faults = Faults()
        for name, amount in (("A", 6), ("B", 4), ("C", 4)):
            made.command(
                "project", "set", project=name, private=amounts(amount),
                lend_limit=dict.fromkeys(amounts(amount), 0), borrow_limit=None,
                default_quota="private", on_private_full="queue",
            )  # fmt: skip
        made.run(700)
        self.check()

    def guaranteed_start(self) -> Iterator[tuple[str, dict[str, int], int]]:
        """Return for each project how many VCPU it owns, uses, and gets of what it asks for."""
        made = self.made
        for name in USERS:
            row = self.row(name)
            room = row["private"]["VCPU"] - row["private_used"].get("VCPU", 0)
            asked = made.create("one", project=name, user=USERS[name][0], count=max(room, 0),
                                quota="private") if room > 0 else []  # fmt: skip
            made.run(30)
            yield name, Counter(made.states(asked)), len(asked)

    def row(self, name: str) -> dict[str, Any]:
        projects = self.made.command("quota", "show")["projects"]
        return next(one for one in projects if one["name"] == name)


def live(seed: int, steps: int) -> None:
    with world(cloud(), {"nova": {"reconcile_s": 30.0}}) as made:
        history = History(made, random.Random(seed))
        for _ in range(steps):
            history.step()
        history.settle()
        waiting = [
            one for ids in history.ids.values() for one in ids
            if made.get(one).state in (State.QUEUED, State.HELD)
        ]  # fmt: skip
        for one in waiting:
            made.command("queue", "cancel", request_id=one)
        made.run(5)
        for name, states, asked in history.guaranteed_start():
            assert states["ACTIVE"] == asked, (name, states)
        for ids in history.ids.values():
            for one in ids:
                if made.get(one).state not in (State.REJECTED, State.CANCELLED, State.DELETED):
                    made.nova.delete_server_as_user(one)
        for project in USERS:
            for view in list(made.nova.servers_of(f"project-{project}")):
                made.nova.delete_server_as_user(view.server_id)
        made.run(200)
        with made.store.reading() as uow:
            assert uow.requests.claims() == []  # nothing leaked
        assert not any(made.command("quota", "show")["shared_used"].values())


# A seed does not get smaller by being shrunk.
SEEDS = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=3, deadline=None, phases=SEEDS)
@given(st.integers(0, 2**32))
def test_the_guarantees_hold_whatever_happens(seed: int) -> None:
    live(seed, steps=15)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, phases=SEEDS)
@given(st.integers(0, 2**32))
def test_the_guarantees_hold_over_long_histories(seed: int) -> None:
    live(seed, steps=120)

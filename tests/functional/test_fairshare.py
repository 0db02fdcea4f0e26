"""Fair-share in the service: what is charged to whom, and what follows from it."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from oslo_config import cfg

from synergy.core.events import FactorsChanged
from synergy.core.model import Association
from synergy.core.queue import Waiting
from synergy.managers.base import register_options
from synergy.managers.fairshare import FairShareManager
from synergy.sim.clock import START, VirtualClock
from synergy.sim.engine import Plugins
from tests.builders import World, spec, world

SHARED: dict[str, Any] = {"default_quota": "shared"}
NO_DECAY: dict[str, Any] = {"decay_half_life_s": 0.0, "rate_s": 10.0}


EVENING = START + timedelta(hours=22)  # so that midnight is not a day of passes away


def made_with(
    fairshare: dict[str, Any] | None = None,
    scheduler: dict[str, int] | None = None,
    **more: Any,
) -> AbstractContextManager[World]:
    settings = {"fairshare": {**NO_DECAY, **(fairshare or {})}, "scheduler": scheduler or {}}
    return world(settings=settings, **more)


def usage_of(made: World, name: str) -> Any:
    return made.shares()[name]["raw_usage"]


def test_only_what_is_held_on_the_shared_quota_is_charged_from_its_first_moment() -> None:
    with made_with() as made:
        made.add("C", default_quota="private")
        made.add("A", **SHARED)
        made.run(1)
        made.create(project="C")
        (server,) = made.create("medium")
        made.run(100)
        assert usage_of(made, "carol") == 0
        held_from = made.get(server).held_from
        assert held_from is not None
        charged_s = usage_of(made, "alice") / 2  # medium has 2 VCPU
        since_s = (made.engine.clock.now() - held_from).total_seconds()
        assert since_s - 10 <= charged_s <= since_s


def test_a_server_that_came_and_went_between_two_passes_is_charged() -> None:
    with made_with({"rate_s": 3600.0, "debounce_s": 1800.0}) as made:
        made.add("A", **SHARED)
        made.run(1)
        (server,) = made.create()
        made.run(60)
        made.nova.delete_server_as_user(server)
        made.run(7300)
        request = made.get(server)
        assert request.held_from is not None
        assert request.released_at is not None
        held_s = (request.released_at - request.held_from).total_seconds()
        assert usage_of(made, "alice") == pytest.approx(held_s)
        assert 55 < held_s < 65


@pytest.mark.parametrize(
    ("options", "metadata", "factor"),
    [
        ({"tres_billing_weights": {"VCPU": 3.0}}, {}, 3),
        ({"tres_billing_weights": {"VCPU": 1.0, "MEMORY_MB": 0.01}}, {}, 1 + 2.56),
        ({"tres_billing_weights": {"VCPU": 1.0, "MEMORY_MB": 0.01}, "max_tres": True}, {}, 2.56),
        ({"qos_usage_factors": {"normal": 0.5}}, {}, 0.5),
        ({"host_factors": {"node1": 1.25, "node2": 1.25}}, {}, 1.25),
    ],
    ids=["weight", "sum", "maximum", "qos", "host"],
)
def test_an_hour_has_its_price(
    options: dict[str, Any], metadata: dict[str, Any], factor: float
) -> None:
    with made_with(options) as made:
        made.add("A", **SHARED)
        made.run(1)
        made.create(**metadata)
        made.run(10)  # the server has a host now
        before = usage_of(made, "alice")
        made.run(100)
        assert usage_of(made, "alice") - before == pytest.approx(100 * factor, abs=11 * factor)
        made.run(100)
        assert usage_of(made, "alice") - before == pytest.approx(200 * factor, abs=11 * factor)


def test_a_pass_writes_the_users_who_held_something_and_nobody_else() -> None:
    with made_with() as made:
        made.add("A", **SHARED)
        made.add("B", **SHARED)
        made.run(1)
        made.create()
        made.create(project="B")
        made.run(30)
        with made.store.reading() as uow:
            before = uow.usage.load()
        for server in list(made.nova.servers_of("project-B")):
            made.nova.delete_server_as_user(server.server_id)
        made.run(60)
        with made.store.reading() as uow:
            middle = uow.usage.load()
        made.run(60)
        with made.store.reading() as uow:
            after = uow.usage.load()
            names = {a.association_id: a.user_name for a in uow.projects.associations()}
        changed = np.flatnonzero(after.buckets[-1] != middle.buckets[-1])
        assert [names[int(one)] for one in changed] == ["alice"]
        assert middle.buckets[-1].sum() > before.buckets[-1].sum()


def test_without_holds_and_changes_no_factor_is_computed_again() -> None:
    with made_with({"decay_half_life_s": 60.0}) as made:
        made.add("A", **SHARED)
        made.run(1)
        (server,) = made.create()
        made.run(30)
        made.nova.delete_server_as_user(server)
        made.run(30)
        computed_at = made.command("fairshare", "shares")["computed_at"]
        made.run(600)
        assert made.command("fairshare", "shares")["computed_at"] == computed_at
        made.command("project", "set", project="A", raw_shares=7)
        made.run(2)
        assert made.command("fairshare", "shares")["computed_at"] > computed_at


def test_changed_shares_and_new_users_count_in_the_next_round() -> None:
    with made_with() as made:
        made.add("A", **SHARED)
        made.add("B", **SHARED)
        made.run(1)
        heard: list[Any] = []
        made.engine.listen(lambda event: heard.append(event))
        assert made.shares()["project:project-A"]["norm_shares"] == 0.5
        made.command("project", "set", project="A", raw_shares=3)
        made.run(2)
        assert made.shares()["project:project-A"]["norm_shares"] == 0.75
        made.command("project", "set_user", project="A", user="anna", raw_shares=0)
        made.run(2)
        anna = made.shares()["anna"]
        assert anna["norm_shares"] == 0
        assert anna["why"].startswith("you have no shares, and come last among your siblings")
        users = {"ua": "alice", "ub": "anna", "un": "nora"}
        made.engine.identity.set_users("project-A", users)
        made.run(1000)
        assert made.shares()["nora"]["fairshare"] > 0
        assert any(isinstance(event, FactorsChanged) for event in heard)


def test_a_user_with_parent_shares_takes_those_of_the_project() -> None:
    with made_with({"algorithm": "classic"}) as made:
        made.add("A", raw_shares="parent", **SHARED)
        made.add("B", **SHARED)
        made.command("project", "set_user", project="B", user="bob", raw_shares="parent")
        made.run(2)
        rows = made.shares()
        assert rows["project:project-A"]["raw_shares"] == "parent"
        assert rows["project:project-A"]["norm_shares"] is None
        assert rows["alice"]["norm_shares"] == pytest.approx(1 / 3)  # competes one level up
        assert rows["bob"]["raw_shares"] == "parent"


def test_what_a_user_used_who_left_stays_with_the_project() -> None:
    with made_with() as made:
        made.add("A", **SHARED)
        made.add("B", **SHARED)
        made.run(1)
        (server,) = made.create()
        made.run(100)
        made.engine.identity.set_users("project-A", {"ub": "anna"})
        made.run(1000)
        assert "alice" in made.shares()  # a server of hers is still there
        made.nova.delete_server_as_user(server)
        made.run(1000)
        rows = made.shares()
        assert "alice" not in rows
        assert rows["anna"]["norm_shares"] == 1.0  # hers alone, now
        used = rows["project:project-A"]["raw_usage"]
        assert used > 1000
        assert rows["anna"]["raw_usage"] == 0
        assert rows["bob"]["fairshare"] > rows["anna"]["fairshare"]
        made.engine.identity.set_users("project-A", {"ua": "alice", "ub": "anna"})
        made.run(1000)
        assert usage_of(made, "alice") == used  # she is back, and so is what she used


def test_words_tell_how_many_times_the_share_was_used() -> None:
    with made_with({"decay_half_life_s": 7 * 86_400.0}) as made:
        made.add("A", **SHARED)
        made.add("B", raw_shares=3, **SHARED)
        made.run(1)
        made.create(count=3)
        made.create(project="B")
        made.run(1000)
        rows = made.shares()
        # A holds 3 of 4 VCPU and has 1 of 4 shares; alice does all of it, and has 1 of 2 shares.
        assert rows["alice"]["why"] == (
            "you used 2 times your share in the last 7 days; "
            "project A used 3 times its share in the last 7 days; 2 of 3 users go before you"
        )
        # To others than administrators it tells nothing of domains, nor of how many users there are.
        found = made.command("fairshare", "shares", project_id="project-A")["shares"]
        own = {row["user"] or row["id"]: row for row in found}
        assert own["alice"]["why"] == (
            "you used 2 times your share in the last 7 days; "
            "project A used 3 times its share in the last 7 days"
        )
        assert set(own) == {"project:project-A", "alice", "anna"}
        assert {row["rank"] for row in found} == {None}
        assert rows["bob"]["why"].startswith("you used just about your share in the last 7 days")
        assert rows["root"]["why"] == "the whole cloud: every share and all usage"


def test_usage_counts_in_periods_as_in_the_first_synergy() -> None:
    options: dict[str, Any] = {
        "decay": "periods",
        "period_length_s": 1000,
        "periods": 2,
        "decay_weight": 0.25,
    }
    with made_with(options) as made:
        made.add("A", **SHARED)
        made.run(1)
        (server,) = made.create()
        made.run(100)
        made.nova.delete_server_as_user(server)
        made.run(50)
        used = usage_of(made, "alice")
        assert used > 90
        assert "in the last 2000 seconds" in made.shares()["alice"]["why"]
        made.run(1000)
        assert usage_of(made, "alice") == pytest.approx(used / 4)
        made.run(1000)
        assert usage_of(made, "alice") == 0


def test_a_late_pass_after_a_reset_charges_only_what_came_after_it() -> None:
    options: dict[str, Any] = {
        "usage_reset_period": "daily",
        "rate_s": 7200.0,
        "debounce_s": 3600.0,
    }
    with made_with(options, clock=VirtualClock(EVENING)) as made:
        made.add("A", ttl_s=200_000, **SHARED)
        made.run(1800)
        made.create()
        midnight = made.engine.clock.now().replace(hour=0, minute=0, second=0) + timedelta(days=1)
        made.engine.run_until(midnight + timedelta(seconds=7300))
        (charged_at,) = {made.command("fairshare", "shares")["computed_at"]}
        since_s = (datetime.fromisoformat(charged_at) - midnight).total_seconds()
        assert 0 < since_s < 7300
        assert usage_of(made, "alice") == pytest.approx(since_s)


def test_usage_is_cleared_by_period_and_by_command() -> None:
    with made_with({"usage_reset_period": "daily"}, clock=VirtualClock(EVENING)) as made:
        made.add("A", ttl_s=200_000, **SHARED)
        made.run(1)
        made.create()
        made.run(3600)
        assert usage_of(made, "alice") > 3500
        midnight = made.engine.clock.now().replace(hour=0, minute=0, second=0) + timedelta(days=1)
        made.engine.run_until(midnight + timedelta(seconds=50))
        assert usage_of(made, "alice") == pytest.approx(50, abs=11)
        with made.store.reading() as uow:
            assert uow.usage.load().reset_at == midnight
        answer = made.command("fairshare", "reset")
        assert answer["reset_at"] == made.engine.clock.now().isoformat()
        assert usage_of(made, "alice") == 0
        made.run(20)
        assert usage_of(made, "alice") == pytest.approx(20, abs=11)


class SetClock:
    """A clock whose wall time can be set while the monotonic one goes on."""

    def __init__(self, now: datetime) -> None:
        self.wall, self.passed_s = now, 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic_s(self) -> float:
        return self.passed_s

    def pass_s(self, seconds: int) -> None:
        self.wall += timedelta(seconds=seconds)
        self.passed_s += seconds


@pytest.mark.parametrize("jump", [timedelta(days=90), timedelta(days=-90), timedelta(hours=-1)])
def test_a_clock_that_is_set_charges_the_time_that_passed(
    jump: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    with world() as made:
        made.add("A", **SHARED)
        made.run(1)
        made.create()
        made.run(10)
        clock = SetClock(made.engine.clock.now())
        conf = cfg.ConfigOpts()
        register_options(conf, "fairshare", FairShareManager)
        conf(args=[], default_config_files=[], default_config_dirs=[])
        conf.set_override("decay_half_life_s", 0.0, group="fairshare")

        def manager() -> FairShareManager:
            return FairShareManager(conf.fairshare, clock, lambda _: None, made.store)

        def used(of: FairShareManager) -> float:
            return next(r["raw_usage"] for r in of.do_shares()["shares"] if r["user"] == "alice")

        first = manager()
        first.task()
        before = used(first)
        clock.pass_s(60)
        first.task()
        assert used(first) == pytest.approx(before + 60)
        clock.wall += jump
        clock.pass_s(60)
        with caplog.at_level(logging.WARNING):
            first.task()
        assert "the clock was set by" in caplog.text
        assert used(first) == pytest.approx(before + 120)
        clock.pass_s(60)
        first.task()
        assert used(first) == pytest.approx(before + 180)
        again = manager()  # a restart knows nothing of the jump, and has nothing to catch up with
        clock.pass_s(60)
        again.task()
        assert used(again) == pytest.approx(before + 240)


def test_a_clock_behind_the_last_pass_at_a_restart_charges_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as made:
        made.add("A", **SHARED)
        made.run(1)
        made.create()
        made.run(100)
        clock = SetClock(made.engine.clock.now() - timedelta(hours=1))
        conf = cfg.ConfigOpts()
        register_options(conf, "fairshare", FairShareManager)
        conf(args=[], default_config_files=[], default_config_dirs=[])
        with made.store.reading() as uow:
            before = uow.usage.load()
        FairShareManager(conf.fairshare, clock, lambda _: None, made.store).task()
        assert "behind the last pass: nothing is charged" in caplog.text
        with made.store.reading() as uow:
            after = uow.usage.load()
        assert after.buckets[-1].tolist() == before.buckets[-1].tolist()
        assert after.left == before.left
        assert after.charged_at == clock.now()


class BobFirst:
    """A site factor that lifts every class of one user."""

    def points(
        self, waiting: Waiting, associations: Mapping[int, Association], at_s: float
    ) -> np.ndarray[Any, Any]:
        bob = {i for i, one in associations.items() if one.user_name == "bob"}
        return np.where(np.isin(waiting.association, list(bob)), 500_000.0, 0.0)


class Broken:
    def points(
        self, waiting: Waiting, associations: Mapping[int, Association], at_s: float
    ) -> np.ndarray[Any, Any]:
        raise ZeroDivisionError("the site's own fault")


class TooShort:
    def points(
        self, waiting: Waiting, associations: Mapping[int, Association], at_s: float
    ) -> np.ndarray[Any, Any]:
        return np.zeros(0)


def test_a_site_factor_lifts_whom_it_will() -> None:
    with made_with(plugins=Plugins(site_factors={"bob_first": BobFirst()})) as made:
        made.add("A", raw_shares=1000, **SHARED)
        made.add("B", **SHARED)
        made.run(1)
        made.create("large", count=2)
        made.run(20)
        (alices,) = made.create("large")
        made.run(5)
        (bobs,) = made.create("large", project="B")
        made.run(5)
        shown = made.command("scheduler", "explain", request_id=bobs)["priority"]
        assert shown["site"] == 500_000
        other = made.command("scheduler", "explain", request_id=alices)["priority"]
        assert shown["priority"] > other["priority"]
        assert other["site"] == 0


@pytest.mark.parametrize(
    ("plugin", "told"), [(Broken(), "the site's own fault"), (TooShort(), "points have shape")]
)
def test_a_site_factor_that_fails_adds_nothing_and_is_told_once(
    plugin: Broken | TooShort, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with made_with(plugins=Plugins(site_factors={"mine": plugin, "bob_first": BobFirst()})) as made:
        made.add("B", **SHARED)
        made.run(1)
        ids = made.create(project="B", count=2)
        made.run(30)
        assert made.states(ids) == ["ACTIVE", "ACTIVE"]
        assert told in made.command("scheduler", "status")["site_factor_errors"]["mine"]
        assert caplog.text.count("priority factor 'mine' fails") == 1
        assert made.engine.supervisors["scheduler"].report.status == "RUNNING"


def test_priorities_of_projects_and_users_decide_where_they_have_weight() -> None:
    weights = {"weight_fairshare": 0, "weight_age": 0, "weight_association": 1000}
    with made_with(scheduler=weights) as made:
        made.add("A", priority=5, **SHARED)
        made.add("B", **SHARED)
        made.command("project", "set_user", project="A", user="anna", priority=20)
        made.run(2)
        made.create("large", count=2, project="B")
        made.run(20)
        waiting = {
            "alice": made.create("large")[0],
            "anna": made.create("large", user="anna")[0],
            "bob": made.create("large", project="B")[0],
        }
        made.run(5)
        shown = {
            name: made.command("scheduler", "explain", request_id=one)["priority"]["association"]
            for name, one in waiting.items()
        }
        assert shown == {"alice": 250, "anna": 1000, "bob": 0}


def test_a_flavor_names_the_partition() -> None:
    flavors = spec().flavors
    special = replace(flavors[2], name="gpu", extra_specs={"synergy:partition": "gpu"})
    settings = {
        "scheduler": {"weight_partition": 100, "partition_priorities": {"default": 1, "gpu": 4}}
    }
    with world(spec(flavors=(*flavors, special)), settings) as made:
        made.add("A", **SHARED)
        made.run(1)
        made.create("large", count=2)
        made.run(20)
        (plain,), (lifted,) = made.create("large"), made.create("gpu")
        made.run(5)
        terms = [
            made.command("scheduler", "explain", request_id=one)["priority"]["partition"]
            for one in (plain, lifted)
        ]
        assert terms == [25, 100]


def test_the_first_request_of_a_new_user_takes_them_into_the_tree_at_once() -> None:
    with made_with() as made:
        made.add("A", borrow_limit={"VCPU": 2}, **SHARED)
        made.run(1)
        made.engine.identity.set_users("project-A", {"un": "nora"})
        ids = made.create(user="nora", count=3)
        made.run(20)
        assert made.shares()["nora"]["raw_usage"] > 20  # 2 servers, from their first moment
        assert sorted(made.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]  # the limit holds for her


def test_a_user_who_comes_back_with_a_request_is_in_the_tree_at_once() -> None:
    with world(settings={"fairshare": NO_DECAY, "project": {"rate_s": 500.0}}) as made:
        made.add("A", **SHARED)
        made.run(1)
        made.engine.identity.set_users("project-A", {"ub": "anna"})
        made.run(1000)
        assert "alice" not in made.shares()
        made.engine.identity.set_users("project-A", {"ua": "alice", "ub": "anna"})
        made.create()
        made.run(20)
        assert made.shares()["alice"]["raw_usage"] > 10


def test_words_for_a_project_say_nothing_of_a_domain_that_used_more_than_its_share() -> None:
    with made_with({"decay_half_life_s": 7 * 86_400.0}) as made:
        made.add("A", **SHARED)
        made.add("B", **SHARED)
        with made.store.writing() as uow:
            for domain in uow.projects.domains():
                uow.projects.save_domain(replace(domain, raw_shares=1))
            uow.commit()
        made.command("project", "set", project="A", raw_shares=1)
        made.run(1)
        made.create(count=3)
        made.run(1000)
        everything = made.shares()["alice"]["why"]
        assert "domain" in everything
        apart = made.command("fairshare", "shares", project_id="project-A")["shares"]
        assert "domain" not in str([row["why"] for row in apart if row["user"]])

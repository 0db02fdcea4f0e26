"""Owners, projects, zones and conductors that are gone while requests wait, run or are built."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from oslo_config import cfg

from synergy.core.errors import InvalidInput, UpstreamUnavailable
from synergy.core.model import Resources, ServerStatus
from synergy.core.reasons import Reason
from synergy.db.engine import DATABASE_OPTIONS, open_engine, upgrade
from synergy.db.key_file import new_key
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import CloudSpec, HostSpec
from synergy.ports import Handed, Notice, NoticeKind, Parcel, Receipt
from synergy.sim.clock import VirtualClock
from synergy.sim.engine import Machine, temporary_store
from tests.builders import Fragile, spec, world
from tests.started import QUIET, Started


@pytest.fixture
def made() -> Iterator[Started]:
    """A world with a fragile cloud, in which managers may fail without ending it."""
    with temporary_store() as store:
        yield Started(store)


# --- owners ---------------------------------------------------------------------------------------


def leave(one: Started, how: str) -> None:
    identity = one.engine.identity
    if how == "user deleted":
        identity.remove_user("ua")
    elif how == "project deleted":
        identity.remove_project("project-A")
    else:
        identity.disabled.add("ua" if how == "user disabled" else "project-A")
        identity._changed()


HOWS = ["user deleted", "user disabled", "project deleted", "project disabled"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("held", [False, True])
def test_what_waits_for_an_owner_who_is_gone_is_cancelled_with_the_reason(
    made: Started, how: str, held: bool
) -> None:
    made.add("A", default_quota="shared", suspended=True)
    made.add("B", default_quota="shared")
    made.run(2)
    mine = made.create(count=2)
    made.run(2)
    if held:
        for one in mine:
            made.command("queue", "hold", request_id=one)
    leave(made, how)
    theirs = made.create(project="B")
    made.run(130)
    assert made.states(mine) == ["CANCELLED"] * 2
    assert how.split()[0] in made.get(mine[0]).why
    assert how.split()[1] in made.get(mine[0]).why
    shown = made.nova.show_server(mine[0])
    assert shown.status is ServerStatus.ERROR  # its user can read why
    assert made.states(theirs) == ["ACTIVE"]


@pytest.mark.parametrize("how", ["user deleted", "user disabled", "project disabled"])
def test_a_round_sends_nothing_for_an_owner_who_left_a_moment_ago(made: Started, how: str) -> None:
    made.add(default_quota="shared", suspended=True)
    made.run(2)
    (server,) = made.create()
    made.run(2)
    made.engine.supervisors["keystone"].stop()  # nobody else notices
    made.run(100)
    leave(made, how)
    sent: list[Any] = []

    def noted(real: Callable[..., Any], parcels: list[Parcel]) -> Any:
        sent.extend(parcels)
        return real(parcels)

    made.nova.answer("build", noted)
    made.command("project", "set", project="project-A", suspended=False)
    made.run(5)
    assert made.states([server]) == ["CANCELLED"]
    assert made.nova.show_server(server).status is ServerStatus.ERROR
    assert made.nova.orphans == []
    assert sent == []
    assert not any(made.command("quota", "show")["shared_used"].values())


def test_an_operator_may_have_it_built_all_the_same() -> None:
    settings = QUIET | {"project": {"on_owner_gone": "build"}}
    with temporary_store() as store:
        one = Started(store, settings)
        one.add(default_quota="shared", suspended=True)
        one.run(2)
        (server,) = one.create()
        one.run(2)
        leave(one, "user disabled")
        one.run(200)
        one.command("project", "set", project="A", suspended=False)
        one.run(20)
        assert one.states([server]) == ["ACTIVE"]


def test_what_runs_of_an_owner_who_is_gone_is_left_alone(made: Started) -> None:
    ids = made.running(2)
    leave(made, "user deleted")
    made.run(600)
    assert made.states(ids) == ["ACTIVE"] * 2


# --- projects -------------------------------------------------------------------------------------


def as_nova(made: Started, project_id: str) -> None:
    """Let Nova answer for a deleted project as it does: 400."""

    def refused(real: Callable[..., Any], asked: str, *rest: dict[str, Any], **more: Any) -> Any:
        if asked == project_id:
            raise InvalidInput(f"Nova: {asked} is not a valid project id (HTTP 400)")
        return real(asked, *rest, **more)

    for name in ("quota", "quota_record", "server_limit", "lift_quota", "restore_quota"):
        made.nova.answer(name, refused)


def test_a_managed_project_that_was_deleted_in_keystone_is_marked_and_can_be_removed(
    made: Started, caplog: pytest.LogCaptureFixture
) -> None:
    made.add("A", default_quota="shared")
    made.add("C")
    made.run(2)
    (server,) = made.create(project="A")
    made.run(20)
    as_nova(made, "project-A")
    leave(made, "project deleted")
    made.nova.set_quota("project-C", {"VCPU": 7})
    made.run(7300)  # some passes
    assert made.command("project", "show", project="A")["gone"] is True
    assert made.engine.supervisors["project"].report.failures == 0
    assert made.command("project", "show", project="C")["private"]["VCPU"] == 7  # others go on
    told = [r for r in caplog.records if "is gone from Keystone" in r.message]
    assert len(told) == 1
    assert not [r for r in caplog.records if "cannot be followed" in r.message]
    made.command("project", "remove", project="A")
    assert [one["name"] for one in made.command("project", "list")] == ["C"]
    assert made.exist([server]) == [True]


def test_a_project_that_nova_cannot_answer_for_keeps_no_other_from_being_followed(
    made: Started, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("A", "B", "C"):
        made.add(name)
    made.run(2)
    as_nova(made, "project-B")
    made.nova.set_quota("project-C", {"VCPU": 7})
    made.run(7300)
    assert made.command("project", "show", project="C")["private"]["VCPU"] == 7
    told = [r for r in caplog.records if "project B cannot be followed" in r.message]
    assert len(told) == 1
    with pytest.raises(InvalidInput):  # it is in Keystone: its quota must not be lost
        made.command("project", "remove", project="B")


@pytest.mark.parametrize("servers", ["keep", "expire"])
def test_what_becomes_of_shared_servers_is_asked_when_a_project_is_removed(
    made: Started, servers: str
) -> None:
    ids = made.running(2, ttl_s=3600)
    made.command("project", "remove", project="A", servers=servers)
    made.run(4000)
    assert made.exist(ids) == [servers == "keep"] * 2
    if servers == "keep":
        assert made.get(ids[0]).expires_at is None
        assert made.get(ids[0]).quota.value == "private"
        made.add("A", default_quota="shared")
        made.run(4000)
        assert made.states(ids) == ["ACTIVE"] * 2  # taken in again, and not ended


# --- zones ----------------------------------------------------------------------------------------


def zoned() -> CloudSpec:
    return spec(
        hosts=tuple(
            HostSpec(
                name=f"node{n}",
                inventory=Resources.of(VCPU=8, MEMORY_MB=8192),
                availability_zone=f"az{n}",
            )
            for n in (1, 2)
        )
    )


def test_what_waits_for_a_zone_that_is_gone_is_refused_with_the_reason() -> None:
    with world(zoned()) as one:
        one.add(default_quota="shared", suspended=True)
        one.run(2)
        ids = [
            one.nova.create_server(
                project="A", user="alice", flavor="small", name="s", metadata={}, count=1,
                availability_zone=zone,
            )[0]
            for zone in ("az1", "az2", None)
        ]  # fmt: skip
        one.run(2)
        one.nova.set_zone("node2", "az1")
        one.command("project", "set", project="A", suspended=False)
        one.run(70)
        assert one.states(ids) == ["ACTIVE", "REJECTED", "ACTIVE"]
        assert one.get(ids[1]).why == (
            "never_fits: asks for availability zone az2, which does not exist any more"
        )
        assert one.nova.show_server(ids[1]).status is ServerStatus.ERROR


def test_a_zone_that_is_younger_than_what_is_known_of_zones_is_asked_about_again() -> None:
    with world(zoned()) as one:
        one.add(default_quota="shared")
        one.run(2)
        asked = {"project": "A", "user": "alice", "flavor": "small", "name": "s", "metadata": {}}
        (first,) = one.nova.create_server(**asked, count=1, availability_zone="az1")
        one.run(2)
        one.nova.set_zone("node2", "az3")
        (young,) = one.nova.create_server(**asked, count=1, availability_zone="az3")
        one.run(10)
        assert one.states([first, young]) == ["ACTIVE"] * 2


def test_nobody_is_asked_about_zones_when_nothing_waits_for_one() -> None:
    cloud, clock, rng = zoned(), VirtualClock(), Random(7)
    identity = EmbeddedIdentity(cloud, clock, rng)
    nova: Any = Fragile(EmbeddedNova(cloud, clock, identity, rng))
    with world(cloud, clock=clock, cloud=(nova, identity)) as one:
        one.add(default_quota="shared")
        one.run(2)
        one.nova.create_server(project="A", user="alice", flavor="small", name="s", metadata={},
                               count=1, availability_zone="az1")  # fmt: skip
        one.run(10)
        asked: list[int] = []

        def noted(real: Callable[..., Any]) -> Any:
            asked.append(1)
            return real()

        nova.answer("zones", noted)
        one.create()
        one.run(600)
        assert asked == []


# --- lost builds ----------------------------------------------------------------------------------


def conductor_dies(made: Started) -> None:
    """Let the conductor take a message and die: nothing is built, and nobody is told."""
    made.nova.answer("build", lambda real, parcels: [Receipt(Handed.SENT) for _ in parcels])


SEEKING: dict[str, Any] = QUIET | {"nova": {"rate_s": 3600.0, "reconcile_s": 300.0}}


@pytest.fixture
def seeking() -> Iterator[Started]:
    """A world that looks for lost builds as often as it does by default."""
    with temporary_store() as store:
        yield Started(store, SEEKING)


@pytest.mark.parametrize("on_lost", ["tell", "error", "rebuild_by_user"])
def test_a_request_that_the_conductor_lost_is_told_and_treated_as_its_project_wants(
    seeking: Started, on_lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = seeking
    made.add(default_quota="shared", on_lost=on_lost)
    made.run(2)
    conductor_dies(made)
    (server,) = made.create()
    made.run(300)
    assert made.states([server]) == ["BUILDING"]
    assert made.command("nova", "lost") == []
    made.run(2000)
    assert "has not started the build, and silent for" in caplog.text
    told = [r for r in caplog.records if f"request {server} of project" in r.message]
    assert len(told) == 1
    assert made.get(server).reason is Reason.LOST
    assert made.reason(server) == "lost"
    explained = made.command("scheduler", "explain", request_id=server)["text"]
    if on_lost == "tell":
        assert made.states([server]) == ["BUILDING"]
        assert made.command("nova", "lost") == [server]
        assert "lost: Nova's conductor has not started the build" in explained
    else:
        state = "ERROR" if on_lost == "error" else "DELETED"
        assert made.states([server]) == [state]
        assert "create the server again" in explained
        assert made.command("nova", "lost") == []
        assert not any(made.command("quota", "show")["shared_used"].values())
        assert made.exist([server]) == [on_lost == "error"]
        if on_lost == "error":
            assert made.nova.show_server(server).status is ServerStatus.ERROR


def test_a_build_on_a_host_is_told_to_be_lost_and_never_ended(seeking: Started) -> None:
    made = seeking
    made.add(default_quota="shared", on_lost="error")
    made.run(2)
    (server,) = made.create()
    made.run(2)
    made.nova._timers._due.clear()  # its host hangs
    made.run(2000)
    assert made.states([server]) == ["BUILDING"]
    assert "lost: Nova builds it on host" in made.get(server).why
    assert made.nova.show_server(server).status is ServerStatus.BUILDING


def test_a_build_that_breaks_on_a_host_named_lost_is_not_lost_for_that(seeking: Started) -> None:
    made = seeking
    made.add(default_quota="shared")
    made.run(2)
    conductor_dies(made)
    (server,) = made.create()
    made.run(2)
    broke = Notice(
        kind=NoticeKind.ATTEMPT_FAILED, server_id=server, at=made.engine.clock.now(), host="lost",
        detail="no space left on device",
    )  # fmt: skip
    notices = [broke]
    made.nova.answer("take_notices", lambda real, limit: [notices.pop()] if notices else [])
    made.engine.supervisors["nova"].run()
    assert made.get(server).why == "lost: no space left on device"
    made.run(590)
    assert made.command("nova", "lost") == []
    made.run(700)
    assert made.command("nova", "lost") == [server]
    assert "silent for" in made.get(server).why


def test_while_messages_wait_for_the_conductor_none_is_ended(seeking: Started) -> None:
    made = seeking
    made.add(default_quota="shared", on_lost="error")
    made.run(2)
    conductor_dies(made)
    made.nova.answer("backlog", lambda real: 1)
    (server,) = made.create()
    made.run(2000)
    assert made.states([server]) == ["BUILDING"]
    assert made.nova.show_server(server).status is ServerStatus.SCHEDULING


# --- a database from yesterday --------------------------------------------------------------------


def opened(path: Path, key: str) -> SqlStore:
    conf = cfg.ConfigOpts()
    conf.register_opts(DATABASE_OPTIONS, group="database")
    conf(args=[], project="synergy", default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", f"sqlite:///{path}", group="database")
    conf.set_override("sqlite_synchronous", False, group="database")
    engine = open_engine(conf.database, create=True)
    upgrade(engine)
    return SqlStore(engine, Vault([key]))


def test_after_a_database_from_yesterday_what_nova_has_is_told_and_adopted_and_nothing_ended(
    tmp_path: Path,
) -> None:
    key, path, kept = new_key(), tmp_path / "synergy.sqlite", tmp_path / "yesterday.sqlite"
    one = Started(opened(path, key))
    one.add(default_quota="shared", ttl_s=30 * 86_400)
    one.run(2)
    stays, goes = one.create(count=2)
    one.run(20)
    one.command("project", "set", project="A", suspended=True)
    waited, waits = one.create(count=2)
    one.run(5)
    with sqlite3.connect(path) as source, sqlite3.connect(kept) as target:
        source.backup(target)
    one.run(3600)
    # Since then: one is deleted, one that waited runs, and others were asked for and run.
    one.command("queue", "hold", request_id=waits)
    one.command("project", "set", project="A", suspended=False)
    new = one.create(count=3)
    one.run(60)
    one.nova.delete_server(goes)
    one.run(20)
    assert one.states([stays, goes, waited, waits, *new]) == [
        "ACTIVE", "DELETED", "ACTIVE", "HELD", *["ACTIVE"] * 3
    ]  # fmt: skip
    one.store.close()
    one.store = opened(kept, key)
    one.restart(Machine(boot_id="another"))
    one.command("project", "set", project="A", suspended=False)
    one.run(400)
    living = [stays, waited, *new]
    assert one.exist(living) == [True] * 5
    assert one.states(living) == ["ACTIVE"] * 5
    assert one.states([goes]) == ["DELETED"]
    assert one.nova.orphans == []
    assert one.nova.used_by("project-A")["VCPU"] == 5 + (one.states([waits]) == ["ACTIVE"])
    assert one.command("nova", "drift")["adopted"] == 3
    assert [one.get(server).expires_at for server in new] == [None] * 3
    shown = one.command("quota", "show")
    used = shown["shared_used"]["VCPU"] + shown["projects"][0]["private_used"]["VCPU"]
    assert used == one.nova.used_by("project-A")["VCPU"]
    one.store.close()


def test_a_queue_from_yesterday_sends_nothing_that_nova_has(made: Started) -> None:
    """Before any reconcile: the round itself asks Nova."""
    made.add(default_quota="shared", suspended=True)
    made.run(2)
    (server,) = made.create()
    made.run(2)
    with made.store.reading() as uow:
        (parcel,) = uow.requests.bodies([server]).values()
    made.nova.build([Parcel(parcel)])  # as it was sent after the copy was taken
    made.engine.supervisors["nova"].stop()
    made.run(10)
    made.command("project", "set", project="A", suspended=False)
    made.run(10)
    assert made.nova.orphans == []
    assert made.states([server]) == ["ACTIVE"]
    assert made.nova.show_server(server).status is ServerStatus.ACTIVE


def test_keystone_that_is_away_lets_nobody_be_cancelled(made: Started) -> None:
    made.add(default_quota="shared", suspended=True)
    made.run(2)
    ids = made.create(count=2)

    def away(*_: Any) -> None:
        raise UpstreamUnavailable("Keystone does not answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.engine.identity, "gone", away)
        made.run(300)
        assert made.states(ids) == ["QUEUED"] * 2
    made.command("project", "set", project="A", suspended=False)
    made.run(700)
    assert made.states(ids) == ["ACTIVE"] * 2

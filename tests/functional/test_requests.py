"""The life of requests through the real managers, on the embedded cloud and SQLite."""

from collections.abc import Iterator
from typing import Any

import pytest

from synergy.core.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from synergy.core.lifecycle import HOLDS_QUOTA
from synergy.core.model import Resources, ServerStatus, State
from synergy.core.reasons import Reason
from tests.builders import World, rid, spec, world


@pytest.fixture
def made() -> Iterator[World]:
    with world() as found:
        yield found


def test_a_shared_request_queues_runs_expires_and_leaves_its_story(made: World) -> None:
    made.add(default_quota="shared", ttl_s=60)
    (server,) = made.create()
    made.run(1)
    assert made.states([server]) == ["BUILDING"]
    made.run(6)
    assert made.states([server]) == ["ACTIVE"]
    made.run(57)
    assert made.states([server]) == ["ACTIVE"]
    made.run(1)
    assert made.states([server]) == ["DELETED"]
    assert made.nova.servers([server]) == {}
    story = made.command("queue", "show", request_id=server)["history"]
    assert [step["event"] for step in story] == [
        "ADMITTED", "SELECTED", "HANDED_OVER", "BOOTED", "TTL_REACHED", "REMOVED",
    ]  # fmt: skip
    assert story[1]["round_id"] == story[2]["round_id"] is not None


def test_what_does_not_fit_waits_with_a_reason_and_starts_when_something_ends(made: World) -> None:
    made.add(default_quota="shared")
    ids = made.create("large", count=2)
    made.run(1)
    assert made.states(ids) == ["BUILDING", "QUEUED"]  # C owns 4 of the 16 VCPU
    assert made.reason(ids[1]) == "no_free_quota"
    made.run(10)
    made.nova.delete_server_as_user(ids[0])
    made.run(1)
    assert made.states(ids) == ["DELETED", "BUILDING"]


def test_the_longer_waiting_project_shares_the_pool_with_the_busy_one(made: World) -> None:
    made.add("A", default_quota="shared", ttl_s=50, raw_shares=50)
    made.add("B", default_quota="shared", ttl_s=50, raw_shares=50)
    made.create(count=60, project="A")
    made.run(120)
    made.create(count=12, project="B")
    made.run(120)
    with made.store.reading() as uow:
        found = uow.requests.search(limit=1000)
    started = {p: sum(r.held_from is not None for r in found if r.project_id == p)
               for p in ("project-A", "project-B")}  # fmt: skip
    assert started["project-B"] == 12
    assert 24 <= started["project-A"] < 60


def test_a_private_request_starts_at_once_and_is_never_touched_by_expiry(made: World) -> None:
    made.add("C", ttl_s=10)
    (server,) = made.create(project="C")
    made.run(3600)
    assert made.states([server]) == ["ACTIVE"]
    assert made.get(server).expires_at is None
    shown = made.command("quota", "show")["projects"][0]
    assert shown["private_used"] == {"MEMORY_MB": 256, "VCPU": 1}
    assert not any(shown["shared_used"].values())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"default_quota": "private", "on_private_full": "queue"}, ("QUEUED", "private")),
        ({"default_quota": "private", "on_private_full": "reject"}, ("REJECTED", "private")),
        ({"default_quota": "private", "on_private_full": "shared"}, ("ACTIVE", "shared")),
        ({"default_quota": "private_then_shared"}, ("ACTIVE", "shared")),
    ],
)
def test_a_full_private_quota_does_what_the_project_wants(
    made: World, settings: dict[str, str], expected: tuple[str, str]
) -> None:
    made.add("C", **settings)
    ids = made.create(project="C", count=5)
    made.run(10)
    assert made.states(ids[:4]) == ["ACTIVE"] * 4
    last = made.get(ids[4])
    assert (last.state.value, last.quota.value) == expected
    if last.state is State.REJECTED:
        assert last.reason is Reason.NO_FREE_QUOTA
        assert (
            "no_free_quota: the private quota cannot hold it" in made.nova.show_server(ids[4]).fault
        )
    if last.state is State.QUEUED:
        assert made.reason(ids[4]) == "no_free_quota"


@pytest.mark.parametrize(
    ("flavor", "metadata", "fault"),
    [
        ("giant", {}, "never_fits: asks for MEMORY_MB=2048, VCPU=64, but the largest host has"),
        ("small", {"synergy__ttl_s": "soon"}, "synergy:ttl_s is 'soon'"),
        ("small", {"quota": "free"}, "quota is 'free', but must be one of private, shared"),
    ],
)
def test_what_cannot_be_is_refused_at_once_and_its_user_reads_why(
    made: World, flavor: str, metadata: dict[str, Any], fault: str
) -> None:
    made.add(default_quota="shared")
    made.run(1)
    (server,) = made.create(flavor, **metadata)
    made.run(1)
    assert made.states([server]) == ["REJECTED"]
    assert made.get(server).reason is (
        Reason.NEVER_FITS if flavor == "giant" else Reason.INVALID_REQUEST
    )
    assert fault in made.nova.show_server(server).fault
    with made.store.reading() as uow:
        assert uow.requests.bodies([server]) == {}


def test_a_refusal_that_could_not_be_sent_is_sent_later(made: World) -> None:
    made.add(default_quota="shared")
    made.run(1)
    made.nova.faults.hand_over = 1
    (server,) = made.create("giant")
    made.run(1)
    assert made.nova.show_server(server).status is ServerStatus.SCHEDULING
    made.run(61)
    assert made.nova.show_server(server).status is ServerStatus.ERROR


def test_waiting_requests_are_bounded_for_a_user_and_for_a_project(made: World) -> None:
    made.add(default_quota="shared", max_waiting=4, max_waiting_per_user=3)
    made.command("project", "set", project="A", suspended=True)
    made.run(1)
    ids = made.create(count=5)
    made.run(1)
    assert made.states(ids) == ["QUEUED"] * 3 + ["REJECTED"] * 2
    assert "3 requests of this user wait" in made.nova.show_server(ids[4]).fault
    others = made.nova.create_server(
        project="A", user="anna", flavor="small", name="s", metadata={}, count=2
    )
    made.run(1)
    assert made.states(others) == ["QUEUED", "REJECTED"]
    assert "4 requests of project A wait" in made.nova.show_server(others[1]).fault
    assert made.reason(ids[0]) == "project_suspended"
    made.command("project", "set", project="A", suspended=False)
    made.run(1)
    assert made.states(ids[:3]) == ["BUILDING"] * 3


def test_a_waiting_server_deleted_by_its_user_is_never_dispatched(made: World) -> None:
    made.add(default_quota="shared")
    first, second = made.create("large", count=2)
    made.run(10)
    made.nova.delete_server_as_user(second)  # Nova tells nobody
    made.nova.delete_server_as_user(first)
    made.run(1)
    assert made.states([first, second]) == ["DELETED", "CANCELLED"]
    assert made.nova.orphans == []


def test_the_reconcile_finds_what_nobody_told(made: World) -> None:
    made.add(default_quota="shared")
    made.add("C")
    lost, gone, waiting = made.create("small", count=1) + made.create("large", count=2)
    made.nova.faults.lost_notice = 2
    made.run(6)
    assert made.states([lost, gone, waiting]) == ["BUILDING", "BUILDING", "QUEUED"]
    made.nova.delete_server_as_user(waiting)
    made.command("nova", "reconcile")
    assert made.states([lost, gone, waiting]) == ["ACTIVE", "ACTIVE", "CANCELLED"]
    made.nova.faults.lost_notice = 1
    made.nova.delete_server_as_user(gone)
    assert made.command("nova", "reconcile") == {"booted": 2, "removed": 2}
    assert made.states([gone]) == ["DELETED"]


def test_servers_from_before_are_adopted_on_the_private_quota(made: World) -> None:
    before = made.create(project="C", count=3)
    made.run(10)
    made.add("C")
    made.run(1)
    assert made.states(before) == ["ACTIVE"] * 3
    assert {made.get(server).quota.value for server in before} == {"private"}
    ids = made.create(project="C", count=2, quota="private")
    made.run(1)
    assert made.states(ids) == ["BUILDING", "QUEUED"]


@pytest.mark.parametrize(
    ("action", "status", "state"),
    [
        ("delete", None, "DELETED"),
        ("shelve", ServerStatus.SHELVED, "PARKED"),
        ("stop", ServerStatus.STOPPED, "EXPIRING"),
        ("snapshot_delete", None, "DELETED"),
    ],
)
def test_expiry_does_what_the_project_wants(
    made: World, action: str, status: ServerStatus | None, state: str
) -> None:
    made.add(default_quota="shared", ttl_s=60, expiry_action=action)
    (server,) = made.create()
    made.run(7 + 60 + 120)
    assert made.states([server]) == [state]
    found = made.nova.servers([server]).get(server)
    assert (found.status if found else None) is status
    assert made.nova.used_by("project-A").get("VCPU", 0) == (1 if action == "stop" else 0)
    assert len(made.nova._images) == (1 if action == "snapshot_delete" else 0)


def test_an_end_is_announced_before_it_comes() -> None:
    with world(settings={"expiry": {"warnings_s": [20]}}) as made:
        heard: list[Any] = []
        made.engine.listen(
            lambda event: heard.append((type(event).__name__, made.engine.clock.monotonic_s()))
        )
        made.add(default_quota="shared", ttl_s=60)
        made.run(1)
        made.create()
        made.run(200)
        told = [at for name, at in heard if name == "ServersExpireSoon"]
        assert told == [pytest.approx(1 + 5 + 40, abs=0.1)]


def test_a_failed_hand_over_is_retried_and_at_last_left_to_a_person(made: World) -> None:
    made.add(default_quota="shared")
    (server,) = made.create()
    made.nova.faults.hand_over = 5
    made.run(1)
    assert made.states([server]) == ["QUEUED"]
    assert made.reason(server) == "dispatch_retry"
    assert made.get(server).reason is Reason.BROKER_DOWN
    made.run(60 + 120 + 240 + 480 + 10)
    assert made.states([server]) == ["QUARANTINED"]
    assert made.reason(server) == "broker_down"
    assert made.get(server).attempts == 5
    made.command("queue", "release", request_id=server)
    made.run(10)
    assert made.states([server]) == ["ACTIVE"]


def test_one_hand_over_that_fails_costs_the_others_no_try(made: World) -> None:
    made.add(default_quota="shared")
    ids = made.create(count=3)
    made.nova.faults.hand_over = 1
    made.run(1)
    assert sorted(made.get(server).attempts for server in ids) == [0, 0, 1]
    made.run(70)
    assert made.states(ids) == ["ACTIVE"] * 3


@pytest.mark.parametrize("fault", ["no_valid_host", "build_error"])
def test_a_build_that_fails_gives_its_quota_back(made: World, fault: str) -> None:
    made.add(default_quota="shared")
    setattr(made.nova.faults, fault, 1)
    (server,) = made.create("large")
    made.run(10)
    assert made.states([server]) == ["ERROR"]
    assert not any(made.command("quota", "show")["shared_used"].values())
    made.nova.delete_server_as_user(server)
    made.run(1)
    assert made.states([server]) == ["DELETED"]


def test_room_on_no_single_host_makes_no_failed_server(made: World) -> None:
    made.add(default_quota="shared")
    made.create(count=4)
    made.run(10)  # two on each host: 12 of 16 are left in all, 6 on each
    cloud = made.command("quota", "show")
    assert cloud["shared_free"]["VCPU"] == 8
    (server,) = made.create("large")
    made.run(10)
    assert made.states([server]) == ["QUEUED"]
    assert made.reason(server) == "fragmented"


def test_a_token_that_died_in_the_queue_does_not_fail_the_server() -> None:
    with world(spec(token_ttl_s=600.0)) as made:
        made.add(default_quota="shared", ttl_s=3000)
        first, second = made.create("large", count=2)
        made.run(3100)
        assert made.states([first, second]) == ["DELETED", "ACTIVE"]
        made.run(120)
        assert made.command("keystone", "trusts") == []
        assert made.engine.identity.trusts == {}


def test_a_message_that_is_not_novas_is_kept_aside_and_the_next_one_goes_on(made: World) -> None:
    made.add(default_quota="shared")
    made.nova.publish("m-junk", b'{"oslo.message": "{}"}')
    made.nova.publish("m-junk", b'{"oslo.message": "{}"}')
    (server,) = made.create()
    made.run(1)
    assert made.states([server]) == ["BUILDING"]
    (kept,) = made.command("queue", "quarantine")
    assert kept["message_id"] == "m-junk"
    assert "not a build request of Nova" in kept["why"] or "method is None" in kept["why"]


def test_a_repeated_message_changes_nothing(made: World) -> None:
    made.add(default_quota="shared")
    (server,) = made.create()
    (delivery,) = made.nova.fetch(limit=1)
    made.nova.redeliver()
    made.nova.publish("again", delivery.body)
    made.run(10)
    made.nova.publish("much later", delivery.body)
    made.run(10)
    assert made.states([server]) == ["ACTIVE"]
    assert len(made.command("queue", "show", request_id=server)["history"]) == 4
    assert made.nova.orphans == []


def test_operators_hold_release_and_cancel(made: World) -> None:
    made.add(default_quota="shared")
    made.command("project", "set", project="A", suspended=True)
    held, cancelled = made.create(count=2)
    made.run(1)
    made.command("queue", "hold", request_id=held)
    made.command("queue", "cancel", request_id=cancelled)
    made.command("project", "set", project="A", suspended=False)
    made.run(10)
    assert made.states([held, cancelled]) == ["HELD", "CANCELLED"]
    assert "cancelled by an operator" in made.nova.show_server(cancelled).fault
    made.command("queue", "release", request_id=held)
    made.run(10)
    assert made.states([held]) == ["ACTIVE"]
    with pytest.raises(IllegalTransition, match="only a waiting one"):
        made.command("queue", "cancel", request_id=held)
    with pytest.raises(NotFound, match="request '.*' does not exist"):
        made.command("queue", "cancel", request_id=rid(5))


def test_a_project_gets_back_exactly_the_quota_it_had(made: World) -> None:
    before = dict(made.nova.quota("project-C"))
    made.add("C", private={"VCPU": 2})
    assert set(made.nova.quota("project-C").values()) == {None}
    made.command("project", "set", project="C", private={"VCPU": 3}, raw_shares=5)
    made.command("project", "remove", project="C")
    assert dict(made.nova.quota("project-C")) == before
    with pytest.raises(NotFound, match="'C' is not managed"):
        made.command("project", "show", project="C")


def test_a_project_with_waiting_requests_is_not_let_go(made: World) -> None:
    made.add(default_quota="shared")
    made.command("project", "set", project="A", suspended=True)
    made.create()
    made.run(1)
    with pytest.raises(Conflict, match="'A' has 1 waiting"):
        made.command("project", "remove", project="A")


@pytest.mark.parametrize(
    ("name", "arguments", "error", "told"),
    [
        ("add", {"project": "nobody"}, NotFound, "Keystone knows no project 'nobody'"),
        (
            "add",
            {"project": "A", "raw_shares": "many"},
            InvalidInput,
            'raw_shares is "many", but must be a whole number or parent',
        ),
        (
            "add",
            {"project": "A", "priority": -1},
            InvalidInput,
            "priority is -1, but must be at least 0",
        ),
        (
            "add",
            {"project": "A", "raw_shares": -7},
            InvalidInput,
            "raw_shares is -7, but must be at least 0",
        ),
        (
            "add",
            {"project": "A", "ttl_s": "soon"},
            InvalidInput,
            'ttl_s is "soon", but must be a whole number',
        ),
        ("add", {"project": "A", "ttl_s": 0}, InvalidInput, "ttl_s is 0, but must be at least"),
        (
            "add",
            {"project": "A", "private": {"vcpu": 1}},
            InvalidInput,
            "private: 'vcpu' is not the name of a resource class",
        ),
        ("add", {"project": "A", "colour": 1}, InvalidInput, "'colour' is unknown"),
        ("set", {"project": "A", "raw_shares": 1}, NotFound, "'A' is not managed"),
        ("fly", {}, NotFound, "has no command 'fly'; it has: add, list"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_by_name_and_changes_nothing(
    made: World,
    name: str,
    arguments: dict[str, dict[str, int] | int | str],
    error: type[Exception],
    told: str,
) -> None:
    with pytest.raises(error) as caught:
        made.command("project", name, **arguments)
    assert told in str(caught.value)
    assert made.command("project", "list") == []
    assert made.nova.quota("project-A") == {"VCPU": 0, "MEMORY_MB": 0}


def test_a_shortfall_disables_the_shared_quota_and_comes_back_with_the_host(
    made: World, caplog: pytest.LogCaptureFixture
) -> None:
    made.add("C", private={"VCPU": 10, "MEMORY_MB": 1024})
    made.add(default_quota="shared")
    made.run(1)
    made.nova.set_host_up("node1", False)
    made.run(61)
    (server,) = made.create()
    made.run(1)
    assert made.reason(server) == "shared_quota_disabled"
    assert "exceed the cloud by VCPU=2" in caplog.text
    made.nova.set_host_up("node1", True)
    made.run(70)
    assert made.states([server]) == ["ACTIVE"]


def test_an_unlimited_project_counts_with_what_it_uses_and_is_told(
    made: World, caplog: pytest.LogCaptureFixture
) -> None:
    made.nova.set_quota("project-C", {"VCPU": None, "MEMORY_MB": 100})
    made.add("C")
    assert made.command("project", "show", project="C")["private"] == {"MEMORY_MB": 100}
    assert "unlimited in VCPU" in caplog.text


def test_the_quota_in_use_is_the_sum_of_what_holds_it(made: World) -> None:
    made.add(default_quota="shared", ttl_s=40)
    made.add("C", ttl_s=40)
    for step in range(12):
        made.create("medium" if step % 2 else "small", project="A", count=2)
        made.create("small", project="C")
        made.run(11)
        with made.store.reading() as uow:
            rows = uow.requests.search(limit=1000)
        holding = [r for r in rows if r.state in HOLDS_QUOTA]
        shown = made.command("quota", "show")
        expected = sum((r.demand for r in holding if r.quota == "shared"), Resources())
        assert shown["shared_used"] == dict(expected)
        assert expected.fits_in(Resources.of(shown["shared"]))
        on_hosts = sum((made.nova.used_on(host.name) for host in made.nova.hosts()), Resources())
        assert on_hosts == sum((r.demand for r in holding), Resources())


def test_a_hold_or_release_that_can_change_nothing_is_refused(made: World) -> None:
    made.add(default_quota="shared")
    made.command("project", "set", project="A", suspended=True)
    (ended,) = made.create(count=1)
    made.run(1)
    made.command("queue", "cancel", request_id=ended)
    for name, words in (("hold", "QUEUED can be held"), ("release", "QUARANTINED can be released")):
        with pytest.raises(IllegalTransition, match=f"is CANCELLED: only one that is .*{words}"):
            made.command("queue", name, request_id=ended)

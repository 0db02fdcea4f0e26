"""A command that could hurt the cloud is refused with numbers, and tells beforehand what it does."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from synergy.cli.expiry import ResumeExpiry
from synergy.cli.main import SynergyApp
from synergy.cli.manager import StopManager
from synergy.cli.options import add_options, given
from synergy.cli.project import AddProject, RemoveProject, SetProject
from synergy.cli.render import vector
from synergy.core.declared import commands
from synergy.core.declared.command import DRY_RUN, ManagerCommand
from synergy.core.declared.settings import PROJECT_SETTINGS
from synergy.core.errors import Conflict, InvalidInput
from synergy.db.models import Base
from synergy.managers.quota.survey import QuotaSurvey
from synergy.sim.engine import temporary_store
from tests.builders import Fragile, World, world
from tests.served import Api
from tests.started import Started


@pytest.fixture
def made() -> Iterator[World]:
    with world() as one:
        one.add("C")
        one.add("A", default_quota="shared")
        one.run(1)
        yield one


def set_(made: World, **settings: Any) -> Any:
    return made.command("project", "set", project="C", **settings)


def shared(made: World) -> Any:
    made.run(1)
    return made.command("quota", "show")["shared"]["VCPU"]


def test_a_shortfall_is_refused_with_numbers_unless_it_is_forced(made: World) -> None:
    made.create("large", count=2)
    made.run(1)
    made.create("small", count=23)  # of which 4 start beside one large
    made.run(1)
    assert shared(made) == 12
    with pytest.raises(Conflict) as caught:
        set_(made, private={"VCPU": 99_999})
    assert "shared VCPU 12 -> 0" in str(caught.value)
    assert "20 requests would wait" in str(caught.value)
    assert "use force (--force)" in str(caught.value)
    assert shared(made) == 12
    assert set_(made, private={"VCPU": 99_999}, force=True)["private"]["VCPU"] == 99_999
    assert shared(made) == 0
    assert set_(made, private={"VCPU": 9_999})["private"]["VCPU"] == 9_999  # it is the cure


def test_a_dry_run_tells_and_changes_nothing(made: World) -> None:
    made.create("small", count=2)
    before = made.command("project", "show", project="C")
    told = set_(made, private={"VCPU": 16}, dry_run=True)
    assert told["effects"]["shared_before"]["VCPU"] == 12
    assert told["effects"]["shared_after"].get("VCPU", 0) == 0
    assert told["private"]["VCPU"] == 16
    assert "shared VCPU 12 -> 0" in told["effects"]["text"]
    assert made.command("project", "show", project="C") == before
    told = made.command("project", "add", project="B", private={"VCPU": 2}, dry_run=True)
    assert told["effects"]["shared_after"]["VCPU"] == 10
    assert [one["name"] for one in made.command("project", "list")] == ["A", "C"]


def test_a_dry_run_counts_what_a_pass_counts(made: World) -> None:
    """An owner whose quota was set below its use counts with its use, whoever asks."""
    made.nova.set_quota("project-B", {"VCPU": 8, "MEMORY_MB": 65_536})
    made.create("large", project="B")
    made.nova.set_quota("project-B", {"VCPU": 0})
    made.run(61)
    effects = set_(made, private={"VCPU": 4}, dry_run=True)["effects"]
    assert effects["shared_before"]["VCPU"] == made.command("quota", "show")["shared"]["VCPU"]


def test_a_project_that_nova_knows_no_longer_keeps_no_other_from_being_changed(made: World) -> None:
    def quota(real: Callable[..., Any], project_id: str, fresh: bool = True) -> Any:
        if project_id == "project-B":
            raise InvalidInput("Nova: project-B is not a valid project id (HTTP 400)")
        return real(project_id, fresh=fresh)

    cloud = Fragile(made.nova)
    cloud.answer("quota", quota)
    survey = QuotaSurvey(made.engine.clock, made.store, cloud, cloud, made.engine.identity)
    assert "project-B" not in {owner.project_id for owner in survey.look().state.unmanaged}


@pytest.mark.parametrize("setting", ["private", "borrow_limit", "lend_limit"])
def test_a_resource_class_that_no_host_has_is_refused(made: World, setting: str) -> None:
    with pytest.raises(Conflict, match="no host has FOO"):
        set_(made, **{setting: {"FOO": 4}})
    assert set_(made, **{setting: {"FOO": 4}}, force=True)[setting]["FOO"] == 4
    set_(made, raw_shares=5)  # what is there already is not in the way of anything else
    with pytest.raises(Conflict, match="no host has FOO"):
        made.command("project", "add", project="B", **{setting: {"FOO": 4}})


def test_what_is_not_named_stays(made: World) -> None:
    assert set_(made, private={"VCPU": 3})["private"] == {"VCPU": 3, "MEMORY_MB": 1024}
    assert set_(made, private={"MEMORY_MB": None})["private"] == {"VCPU": 3}
    assert set_(made, borrow_limit={"VCPU": 0})["borrow_limit"] == {"VCPU": 0}
    assert set_(made, borrow_limit={"MEMORY_MB": 512})["borrow_limit"] == {
        "VCPU": 0, "MEMORY_MB": 512
    }  # fmt: skip
    assert set_(made, borrow_limit={"VCPU": None, "MEMORY_MB": None})["borrow_limit"] is None
    assert set_(made, borrow_limit={})["borrow_limit"] is None
    assert set_(made, borrow_limit=None)["borrow_limit"] is None


def test_to_lend_one_class_lends_no_other(made: World) -> None:
    assert made.command("project", "show", project="C")["lend_limit"] == {}
    lent = set_(made, lend_limit={"VCPU": 2})["lend_limit"]
    assert (lent["VCPU"], lent["MEMORY_MB"]) == (2, 0)


def test_the_api_takes_force_and_dry_run_and_nulls(made: World) -> None:
    api = Api(made).as_admin()
    status, found, _ = api.ask("PATCH", "/v1/projects/C", {"private": {"VCPU": 99_999}})
    assert (status, found["errors"][0]["code"]) == (409, "conflict")
    asked = {"private": {"VCPU": 99_999}, "dry_run": True}
    status, found, _ = api.ask("PATCH", "/v1/projects/C", asked)
    assert (status, found["project"]["effects"]["shared_after"].get("VCPU", 0)) == (200, 0)
    assert "VCPU short by" in found["project"]["effects"]["text"]
    status, found, _ = api.ask("PATCH", "/v1/projects/C", {"private": {"MEMORY_MB": None}})
    assert (status, found["project"]["private"]) == (200, {"VCPU": 4})


def test_while_the_cloud_is_away_shares_may_still_be_set(made: World) -> None:
    made.nova.faults.api_down = True
    assert set_(made, raw_shares=9)["raw_shares"] == 9


@pytest.mark.parametrize(
    "text", ["cores=4", "VCPU", "VCPU=", "VCPU=-1", "", " ", "VCPU=4,", "VCPU=1e3", "VCPU=" + "9" * 17,
             "VCPU=٣", "=4", "none", "VCPU=4=4", "VCPU=4;MEMORY_MB=2"],
)  # fmt: skip
def test_amounts_that_make_no_sense_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must name a resource class"):
        vector(text)


def test_repeated_options_add_up_and_none_and_zero_are_told_apart() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, PROJECT_SETTINGS)
    words = ["--private", "VCPU=4", "--private", "MEMORY_MB=none,DISK_GB=0"]
    parsed = parser.parse_args([*words, "--borrow-limit", "VCPU=1", "--borrow-limit", "none"])
    assert given(parsed, PROJECT_SETTINGS) == {
        "private": {"VCPU": 4, "MEMORY_MB": None, "DISK_GB": 0}, "borrow_limit": None
    }  # fmt: skip


@pytest.mark.parametrize("arrives", ["before", "after"])
def test_nothing_is_refused_by_the_quota_that_a_project_had_before_a_change(
    made: World, arrives: str
) -> None:
    """Between the change and the next look at the cloud the old quotas are all that is known."""
    made.command("project", "set", project="A", default_quota="private", on_private_full="queue")
    made.command("project", "set", project="A", private={"VCPU": 0, "MEMORY_MB": 0})
    owned = {"VCPU": 4, "MEMORY_MB": 4096}
    if arrives == "after":
        made.run(61)
        made.command("project", "set", project="A", private=owned)
    ids = made.create(count=2)
    if arrives == "before":
        made.command("project", "set", project="A", private=owned)
    made.run(30)
    assert made.states(ids) == ["ACTIVE"] * 2
    (large,) = made.create("large")
    made.run(5)
    assert made.states([large]) == ["REJECTED"]
    made.command("project", "set", project="A", raw_shares=2)
    (large,) = made.create("large")
    made.run(5)
    assert made.states([large]) == ["REJECTED"]


# --- what hurts is tried first --------------------------------------------------------------------

HURTING = [
    one for one in vars(commands).values() if isinstance(one, ManagerCommand) and one.destructive
]
ARGUMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("project", "add"): {"project": "B", "private": {"VCPU": 2}},
    ("project", "set"): {"project": "A", "private": {"VCPU": 2}},
    ("project", "remove"): {"project": "A", "servers": "keep"},
}


class Busy(Started):
    """A cloud where servers run on both quotas, some are due to end, and usage was charged."""

    ids: list[str]


@pytest.fixture
def busy() -> Iterator[Busy]:
    with temporary_store() as store:
        one = Busy(store)
        one.ids = one.running(2)
        owned = {"private": {"VCPU": 8, "MEMORY_MB": 8192}, "default_quota": "private"}
        one.command("project", "set", project="A", **owned, on_private_full="queue")
        one.ids += one.create(project="A", count=1)
        one.run(400)
        yield one


def rows_of(made: Started) -> dict[str, list[str]]:
    """Return every row of the database."""
    with made.store._engine.connect() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table))))
            for table in Base.metadata.sorted_tables
        }


@pytest.mark.parametrize("one", HURTING, ids=lambda one: f"{one.manager} {one.name}")
def test_a_dry_run_of_whatever_hurts_changes_no_row(busy: Busy, one: ManagerCommand[Any]) -> None:
    arguments = ARGUMENTS.get((one.manager, one.name), {})
    before, expiry = rows_of(busy), busy.shown()
    busy.command(one.manager, one.name, **arguments, dry_run=True)
    assert rows_of(busy) == before
    assert busy.shown() == expiry
    busy.run(1)
    assert busy.states(busy.ids) == ["ACTIVE"] * 3
    busy.command(one.manager, one.name, **arguments)
    assert rows_of(busy) != before  # or it would hurt nobody


def test_every_change_of_the_api_that_hurts_can_be_tried_and_leaves_no_trail(busy: Started) -> None:
    api = Api(busy).as_admin()
    for method, path in (
        ("POST", "/v1/expiry/resume"),
        ("POST", "/v1/managers/scheduler/stop"),
        ("POST", "/v1/managers/fairshare/commands/reset"),
        ("PATCH", "/v1/projects/A"),
        ("DELETE", "/v1/projects/A?dry_run=true"),
        ("POST", "/v1/projects"),
    ):
        before = rows_of(busy)
        asked: dict[str, Any] = {"dry_run": True}
        asked |= {"PATCH": {"raw_shares": 3}, "DELETE": {}}.get(method, {})
        asked |= {"project": "B"} if path == "/v1/projects" else {}
        status, found, _ = api.ask(method, path, None if method == "DELETE" else asked)
        assert status in (200, 201), (path, found)
        assert rows_of(busy) == before, path
    assert api.get("/v1/managers/scheduler")["manager"]["status"] == "RUNNING"


@pytest.mark.parametrize("servers", ["keep", "expire"])
def test_to_remove_a_project_is_told_in_numbers_before(busy: Started, servers: str) -> None:
    waiting = busy.create("large", project="A", count=2)
    busy.run(1)
    api = Api(busy).as_admin()
    path = f"/v1/projects/A?servers={servers}&dry_run=true"
    told = api.ask("DELETE", path)[1]["removal"]
    assert (told["shared_servers"], told["private_servers"], told["waiting"]) == (2, 1, 2)
    assert told["shared_used"]["VCPU"] == 2
    assert "It is refused while 2 request(s) wait" in told["text"]
    assert "2 server(s) on the shared quota, " in told["text"]
    fate = "no end any more" if servers == "keep" else "deleted at the end"
    assert fate in told["text"]
    assert (told["last_end"] is None) == (servers == "keep")
    with pytest.raises(Conflict, match="2 waiting"):
        busy.command("project", "remove", project="A")
    for request_id in waiting:
        busy.command("queue", "cancel", request_id=request_id)
    told = api.ask("DELETE", path)[1]["removal"]
    assert (told["waiting"], "refused" in told["text"]) == (0, False)
    assert api.ask("DELETE", f"/v1/projects/A?servers={servers}")[0] == 204


def test_a_dry_run_is_true_or_false(busy: Started) -> None:
    api = Api(busy).as_admin()
    status, found, _ = api.ask("DELETE", "/v1/projects/A?dry_run=yes")
    assert (status, found["errors"][0]["detail"]) == (
        400, "dry_run is 'yes', but must be true or false"
    )  # fmt: skip
    assert api.get("/v1/projects/A")["project"]["name"] == "A"


def test_the_line_has_the_option_for_whatever_hurts() -> None:
    for command in (ResumeExpiry, StopManager, AddProject, RemoveProject, SetProject):
        help_text = " ".join(command(SynergyApp([]), None).get_parser("x").format_help().split())
        assert f"--dry-run {DRY_RUN.help}" in help_text, command

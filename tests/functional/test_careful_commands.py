"""A command that could hurt the cloud is refused with numbers, and tells beforehand what it does."""

import argparse

import pytest

from synergy.cli.options import add_options, given
from synergy.cli.render import vector
from synergy.core.declared.settings import PROJECT_SETTINGS
from synergy.core.errors import Conflict, InvalidInput
from synergy.managers.quota.survey import QuotaSurvey
from tests.builders import Fragile, world
from tests.served import Api


@pytest.fixture
def made():
    with world() as one:
        one.add("C")
        one.add("A", default_quota="shared")
        one.run(1)
        yield one


def set_(made, **settings):
    return made.command("project", "set", project="C", **settings)


def shared(made):
    made.run(1)
    return made.command("quota", "show")["shared"]["VCPU"]


def test_a_shortfall_is_refused_with_numbers_unless_it_is_forced(made):
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


def test_a_dry_run_tells_and_changes_nothing(made):
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


def test_a_dry_run_counts_what_a_pass_counts(made):
    """An owner whose quota was set below its use counts with its use, whoever asks."""
    made.nova.set_quota("project-B", {"VCPU": 8, "MEMORY_MB": 65_536})
    made.create("large", project="B")
    made.nova.set_quota("project-B", {"VCPU": 0})
    made.run(61)
    effects = set_(made, private={"VCPU": 4}, dry_run=True)["effects"]
    assert effects["shared_before"]["VCPU"] == made.command("quota", "show")["shared"]["VCPU"]


def test_a_project_that_nova_knows_no_longer_keeps_no_other_from_being_changed(made):
    def quota(real, project_id, fresh=True):
        if project_id == "project-B":
            raise InvalidInput("Nova: project-B is not a valid project id (HTTP 400)")
        return real(project_id, fresh=fresh)

    cloud = Fragile(made.nova)
    cloud.answer("quota", quota)
    survey = QuotaSurvey(made.engine.clock, made.store, cloud, cloud, made.engine.identity)
    assert "project-B" not in {owner.project_id for owner in survey.look().state.unmanaged}


@pytest.mark.parametrize("setting", ["private", "borrow_limit", "lend_limit"])
def test_a_resource_class_that_no_host_has_is_refused(made, setting):
    with pytest.raises(Conflict, match="no host has FOO"):
        set_(made, **{setting: {"FOO": 4}})
    assert set_(made, **{setting: {"FOO": 4}}, force=True)[setting]["FOO"] == 4
    set_(made, raw_shares=5)  # what is there already is not in the way of anything else
    with pytest.raises(Conflict, match="no host has FOO"):
        made.command("project", "add", project="B", **{setting: {"FOO": 4}})


def test_what_is_not_named_stays(made):
    assert set_(made, private={"VCPU": 3})["private"] == {"VCPU": 3, "MEMORY_MB": 1024}
    assert set_(made, private={"MEMORY_MB": None})["private"] == {"VCPU": 3}
    assert set_(made, borrow_limit={"VCPU": 0})["borrow_limit"] == {"VCPU": 0}
    assert set_(made, borrow_limit={"MEMORY_MB": 512})["borrow_limit"] == {
        "VCPU": 0, "MEMORY_MB": 512
    }  # fmt: skip
    assert set_(made, borrow_limit={"VCPU": None, "MEMORY_MB": None})["borrow_limit"] is None
    assert set_(made, borrow_limit={})["borrow_limit"] is None
    assert set_(made, borrow_limit=None)["borrow_limit"] is None


def test_to_lend_one_class_lends_no_other(made):
    assert made.command("project", "show", project="C")["lend_limit"] == {}
    lent = set_(made, lend_limit={"VCPU": 2})["lend_limit"]
    assert (lent["VCPU"], lent["MEMORY_MB"]) == (2, 0)


def test_the_api_takes_force_and_dry_run_and_nulls(made):
    api = Api(made).as_admin()
    status, found, _ = api.ask("PATCH", "/v1/projects/C", {"private": {"VCPU": 99_999}})
    assert (status, found["errors"][0]["code"]) == (409, "conflict")
    asked = {"private": {"VCPU": 99_999}, "dry_run": True}
    status, found, _ = api.ask("PATCH", "/v1/projects/C", asked)
    assert (status, found["project"]["effects"]["shared_after"].get("VCPU", 0)) == (200, 0)
    assert "VCPU short by" in found["project"]["effects"]["text"]
    status, found, _ = api.ask("PATCH", "/v1/projects/C", {"private": {"MEMORY_MB": None}})
    assert (status, found["project"]["private"]) == (200, {"VCPU": 4})


def test_while_the_cloud_is_away_shares_may_still_be_set(made):
    made.nova.faults.api_down = True
    assert set_(made, raw_shares=9)["raw_shares"] == 9


@pytest.mark.parametrize(
    "text", ["cores=4", "VCPU", "VCPU=", "VCPU=-1", "", " ", "VCPU=4,", "VCPU=1e3", "VCPU=" + "9" * 17,
             "VCPU=٣", "=4", "none", "VCPU=4=4", "VCPU=4;MEMORY_MB=2"],
)  # fmt: skip
def test_amounts_that_make_no_sense_are_refused_in_one_sentence(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must name a resource class"):
        vector(text)


def test_repeated_options_add_up_and_none_and_zero_are_told_apart():
    parser = argparse.ArgumentParser()
    add_options(parser, PROJECT_SETTINGS)
    words = ["--private", "VCPU=4", "--private", "MEMORY_MB=none,DISK_GB=0"]
    parsed = parser.parse_args([*words, "--borrow-limit", "VCPU=1", "--borrow-limit", "none"])
    assert given(parsed, PROJECT_SETTINGS) == {
        "private": {"VCPU": 4, "MEMORY_MB": None, "DISK_GB": 0}, "borrow_limit": None
    }  # fmt: skip

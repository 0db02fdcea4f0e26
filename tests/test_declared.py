"""What is declared once is everywhere: in schemas, options, answers, columns and pages.

The first tests hold our own tables against what is made of them; the last ones make the same of a
table with one entry more, which is what happens when somebody adds a setting.
"""

import argparse
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from synergy.api.routing import change_of
from synergy.api.schemas import COMPONENTS, project_schema
from synergy.api.v1 import projects
from synergy.api.visibility import Visibility
from synergy.cli.options import add_options, given, name_of
from synergy.client import types
from synergy.core.declared.fields import Setting, read, schemas_of, setting, settings_of
from synergy.core.declared.kinds import MOST, Choice, Flag, Number, OrNone, Text
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.model import Association, ExpiryAction, Project, Resources
from synergy.db.models import AssociationRow, ProjectRow, column_of
from synergy.managers.project import ProjectManager
from synergy.managers.render import project_json, user_json

ROOT = Path(__file__).parents[1]
DECLARED = [
    *(pytest.param(Project, one, id=f"project {one.name}") for one in PROJECT_SETTINGS),
    *(pytest.param(Association, one, id=f"user {one.name}") for one in USER_SETTINGS),
]
COMMANDS = {Project: ("add", "set"), Association: ("set_user",)}
ROUTES = {Project: ("add_project", "set_project"), Association: ("set_user",)}
ROWS = {Project: ProjectRow, Association: AssociationRow}
SHOWN = {Project: ("Project", types.Project), Association: ("User", types.User)}
PROJECT = Project(project_id="p", name="P", domain_id="d")
USER = Association(association_id=1, project_id="p", user_id="u", user_name="U")


def pages():
    """The module that makes the tables of the pages."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "doc" / "source" / "conf.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def body_of(name):
    return next(route.body for route in projects.ROUTES if route.name == name)


def parsed(words, table):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, table)
    return given(parser.parse_args(words), table)


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_the_api_hands_over_what_the_command_takes(cls, one):
    for command in COMMANDS[cls]:
        taken = ProjectManager.commands()[command].schema["properties"]
        for route in ROUTES[cls]:
            assert taken[one.name] == body_of(route)["properties"][one.name]
    assert one.help in taken[one.name]["description"]


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_an_answer_shows_what_it_is_said_to_show(cls, one):
    component, typed = SHOWN[cls]
    schema = COMPONENTS[component]
    assert one.name in schema["required"]
    assert one.name in typed.__annotations__
    answer = project_json(PROJECT) if cls is Project else user_json(USER)
    Draft202012Validator(schema["properties"][one.name]).validate(answer[one.name])


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_the_database_has_a_column_that_may_be_null_where_the_setting_may(cls, one):
    column = ROWS[cls].__table__.c[one.name]
    assert column.nullable is isinstance(one.kind, OrNone)


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_the_page_has_a_row_for_it(cls, one):
    text = "\n".join(pages().settings_table("Settings", settings_of(cls)))
    assert f"``{one.name}``" in text
    assert one.help in text


def test_every_row_of_a_table_is_a_field_and_every_field_that_people_set_is_in_it():
    assert {one.name for one in PROJECT_SETTINGS} < set(Project.__dataclass_fields__)
    assert {one.name for one in USER_SETTINGS} < set(Association.__dataclass_fields__)
    inner = {"project_id", "name", "domain_id", "parent_id", "nova_quota", "handover", "gone",
             "generation"}  # fmt: skip
    assert set(Project.__dataclass_fields__) - {one.name for one in PROJECT_SETTINGS} == inner


OPTIONS = [
    (["--raw-shares", "parent"], {"raw_shares": "parent"}),
    (["--raw-shares", "7"], {"raw_shares": 7}),
    (["--priority", "none"], {"priority": None}),
    (["--expiry-action", "shelve"], {"expiry_action": "shelve"}),
    (["--no-suspended"], {"suspended": False}),
    (["--private", "VCPU=4", "--private", "VGPU=none"], {"private": {"VCPU": 4, "VGPU": None}}),
    (["--lend-limit", "none"], {"lend_limit": None}),
    (["--max-private-servers", "none"], {"max_private_servers": None}),
    ([], {}),
]


@pytest.mark.parametrize(("words", "expected"), OPTIONS)
def test_an_option_gives_what_the_schema_takes(words, expected):
    found = parsed(words, PROJECT_SETTINGS)
    assert found == expected
    schemas = schemas_of(PROJECT_SETTINGS)
    for name, value in found.items():
        Draft202012Validator(schemas[name]).validate(value)


@pytest.mark.parametrize("word", ["-1", "1.5", "x", "", "9" * 17, "²"])
def test_a_number_that_is_none_is_no_option(word):
    with pytest.raises(argparse.ArgumentError, match="whole number"):
        parsed([f"--ttl-s={word}"], PROJECT_SETTINGS)
    with pytest.raises(argparse.ArgumentError, match="whole number"):
        parsed([f"--raw-shares={word}"], PROJECT_SETTINGS)


# --- a setting that somebody adds -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Imagined(Project):
    grace_s: int = setting(60, Number(0, 3600, "seconds"), "Grace at the end, seconds.")
    secret_note: str | None = setting(
        None, OrNone(Text(20), "none is kept"), "What operators note, in 100%.", operators_only=True
    )
    on_grace_over: ExpiryAction | None = setting(
        None, OrNone(Choice(ExpiryAction), "nothing"), "What is done when the grace is over."
    )


MORE = settings_of(Imagined)
ADDED = MORE[len(PROJECT_SETTINGS) :]


def test_one_entry_more_is_one_setting_more():
    assert MORE[: len(PROJECT_SETTINGS)] == PROJECT_SETTINGS
    assert [(one.name, one.default) for one in ADDED] == [
        ("grace_s", 60), ("secret_note", None), ("on_grace_over", None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"grace_s": 3600}, True),
        ({"grace_s": 3601}, False),
        ({"grace_s": "60"}, False),
        ({"grace_s": None}, False),
        ({"secret_note": None, "ttl_s": 9}, True),
        ({"secret_note": "a\nb"}, False),
        ({}, False),
    ],
)
def test_it_is_taken_within_its_bounds(body, fits):
    schema = change_of(schemas_of(MORE), {})
    assert Draft202012Validator(schema).is_valid(body) is fits
    assert not Draft202012Validator(change_of(schemas_of(PROJECT_SETTINGS), {})).is_valid(
        {"grace_s": 1}
    )


def test_it_is_an_option_with_its_help():
    words = ["--grace-s", "5", "--secret-note", "x", "--on-grace-over", "none"]
    assert parsed(words, MORE) == {"grace_s": 5, "secret_note": "x", "on_grace_over": None}
    assert parsed(["--on-grace-over", "stop"], MORE) == {"on_grace_over": "stop"}
    with pytest.raises(argparse.ArgumentError, match="invalid choice"):
        parsed(["--on-grace-over", "burn"], MORE)
    parser = argparse.ArgumentParser()
    add_options(parser, MORE)
    text = " ".join(parser.format_help().split())
    assert "--grace-s SECONDS Grace at the end, seconds." in text
    assert "--on-grace-over {delete,shelve,stop,snapshot_delete,none} What is done" in text
    assert "What operators note, in 100%; 'none': none is kept." in text
    assert name_of(ADDED[0]) == "--grace-s"


def test_it_is_shown_and_what_operators_alone_see_is_null_to_others():
    project = Imagined(project_id="p", name="P", domain_id="d", secret_note="noisy")
    shown = project_json(project, MORE)
    assert (shown["grace_s"], shown["secret_note"]) == (60, "noisy")
    schema = project_schema(MORE)
    assert {"grace_s", "secret_note"} <= set(schema["required"])
    Draft202012Validator(schema).validate(shown)
    seen = Visibility(COMPONENTS).to_project(schema, shown)
    assert seen == shown | {"secret_note": None}


def test_it_has_a_column_and_a_row_of_the_page():
    assert column_of(ADDED[0].kind).column.nullable is False
    assert column_of(ADDED[1].kind).column.nullable is True
    text = "\n".join(pages().settings_table("Settings", MORE))
    assert "a whole number of seconds, 0 to 3600" in text
    assert "``60``" in text
    assert text.count("operators\n") + text.endswith("operators") == 1


VALUES = [
    (Number(1, 5), 3, 3),
    (Flag(), True, True),
    (Choice(ExpiryAction), "stop", ExpiryAction.STOP),
    (OrNone(Choice(ExpiryAction), "nothing"), None, None),
    (PROJECT_SETTINGS[0].kind, "parent", None),
    (PROJECT_SETTINGS[0].kind, MOST - 1, MOST - 1),
]


@pytest.mark.parametrize(("kind", "given", "value"), VALUES)
def test_what_is_read_is_shown_as_it_was_given(kind, given, value):
    Draft202012Validator(kind.schema()).validate(given)
    table = [Setting(name="x", kind=kind, help="X.", default=None)]
    assert read({"x": given, "y": 1}, table) == {"x": value}
    assert type(kind.read(given)) is type(value)
    assert kind.show(value) == given


def test_amounts_are_shown_by_class():
    limit = next(one for one in PROJECT_SETTINGS if one.name == "borrow_limit").kind
    assert limit.show(Resources.limit({"VCPU": 0})) == {"VCPU": 0}
    assert limit.show(None) is None

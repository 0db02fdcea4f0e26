"""What is declared once is everywhere: in schemas, options, answers, columns and pages.

The first tests hold our own tables against what is made of them; the last ones make the same of a
table with an entry more, which is what happens when somebody adds a setting or a filter.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator
from requests import Response

from synergy.api.app import ROUTES
from synergy.api.routing import Route, change_of
from synergy.api.schemas import COMPONENTS, project_schema
from synergy.api.v1 import audit, reads, requests
from synergy.api.visibility import Visibility
from synergy.cli.audit import ListAudit
from synergy.cli.command import Lister
from synergy.cli.main import SynergyApp
from synergy.cli.options import add_options, filters_given, given, name_of
from synergy.cli.reports import ListEvents
from synergy.cli.request import ListRequests
from synergy.client import types
from synergy.client.api import Api
from synergy.client.client import Projects
from synergy.core.declared import commands
from synergy.core.declared.answers import READS
from synergy.core.declared.answers.usage import USAGE
from synergy.core.declared.command import ManagerCommand
from synergy.core.declared.commands import CAREFULLY
from synergy.core.declared.fields import Argument, Setting, read, schemas_of, setting, settings_of
from synergy.core.declared.filters import (
    CHANGE_FILTERS,
    EVENT_FILTERS,
    LIMIT,
    MARKER,
    NUMBER,
    REQUEST_FILTERS,
    SORT_KEYS,
    SORTING,
    Filter,
    RequestFilters,
    filters_of,
    keywords_in,
)
from synergy.core.declared.kinds import (
    MAX,
    Choice,
    Explained,
    Flag,
    Instant,
    Kind,
    Number,
    OrNone,
    Several,
    Text,
)
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.declared.shapes import object_of
from synergy.core.errors import InvalidInput
from synergy.core.model import Association, ExpiryAction, Project, Resources, State
from synergy.core.reasons import Reason
from synergy.db.columns import column_of
from synergy.db.models import (
    AssociationRow,
    AuditRow,
    Base,
    ClassRow,
    ProjectRow,
    RequestRow,
    StepRow,
)
from synergy.db.search import columns_of
from synergy.managers.project import ProjectManager
from synergy.managers.queue import QueueManager
from synergy.managers.support.render import project_json, user_json
from synergy.service.options import manager_classes
from tests.loading import load

ROOT = Path(__file__).parents[1]
DECLARED = [
    *(pytest.param(Project, one, id=f"project {one.name}") for one in PROJECT_SETTINGS),
    *(pytest.param(Association, one, id=f"user {one.name}") for one in USER_SETTINGS),
]
COMMANDS = {Project: ("add", "set"), Association: ("set_user",)}
CHANGES = {Project: ("add_project", "set_project"), Association: ("set_user",)}
ROWS = {Project: ProjectRow, Association: AssociationRow}
SHOWN = {Project: ("Project", types.Project), Association: ("User", types.User)}
MANAGERS = [one.load() for one in entry_points(group="synergy.managers")]
PROJECT = Project(project_id="p", name="P", domain_id="d")
USER = Association(association_id=1, project_id="p", user_id="u", user_name="U")


def pages() -> ModuleType:
    """The module that makes the tables of the pages."""
    return load(ROOT / "doc" / "source" / "conf.py")


def body_of(name: str) -> Mapping[str, Any]:
    body = next(route.body for route in ROUTES if route.name == name)
    assert body is not None
    return body


def parsed(words: list[str], table: tuple[Argument, ...]) -> dict[str, Any] | None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, table)
    return given(parser.parse_args(words), table)


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_the_command_and_the_api_take_it_in_the_same_words(cls: type[object], one: Setting) -> None:
    for command in COMMANDS[cls]:
        taken = ProjectManager.commands()[command].schema["properties"]
        for route in CHANGES[cls]:
            assert taken[one.name] == body_of(route)["properties"][one.name]
    assert one.help in taken[one.name]["description"]


# route -> what of its command's arguments it takes from the path, the header and the caller
FOUND_ELSEWHERE = {
    "set_project": {"project", "if_match"},
    "remove_project": {"project", "if_match"},
    "set_user": {"project", "user", "if_match"},
    "show_request": {"request_id"},
    "explain_request": {"request_id", "why"},
    "hold_request": {"request_id", "by", "if_match"},
    "release_request": {"request_id", "by", "if_match"},
    "cancel_request": {"request_id", "why", "if_match"},
    "extend_request": {"request_id", "by", "if_match"},
    "simulate": {"project_id", "user_id"},
    "outlook": {"user_id"},
}
OF_NO_COMMAND = {
    "stop_manager",  # the host pauses it
    "list_projects",  # the API pages a list that is there whole
    "list_users",
    "list_audit",  # the audit is the service's, and no manager's
    "execute_command",  # whatever the command takes
}


@pytest.mark.parametrize(
    "route", [one for one in ROUTES if one.command is not None], ids=lambda one: one.name
)
def test_a_route_takes_the_very_schemas_that_its_command_declares(route: Route) -> None:
    assert route.command is not None
    taken = dict(route.command.takes)
    given = {**route.query, **(route.body or {}).get("properties", {})}
    assert taken.keys() - given.keys() == FOUND_ELSEWHERE.get(route.name, set())
    assert given.keys() - taken.keys() == ({"project"} if route.name == "simulate" else set())
    for name in given.keys() & taken.keys():
        defaulted = {**taken[name], "default": given[name].get("default")}
        assert given[name] is taken[name] or given[name] == defaulted


def test_no_route_takes_anything_that_no_command_declares() -> None:
    takes = {one.name for one in ROUTES if one.query or one.body}
    assert {one.name for one in ROUTES if one.command is None} & takes == OF_NO_COMMAND


COMMANDS_OF_CORE = [
    *(one for one in vars(commands).values() if isinstance(one, ManagerCommand)), *READS
]  # fmt: skip


@pytest.mark.parametrize("one", COMMANDS_OF_CORE, ids=lambda one: f"{one.manager} {one.name}")
def test_a_command_that_is_declared_in_core_is_the_manager_s(one: ManagerCommand[Any]) -> None:
    (manager,) = [found for found in MANAGERS if found.name == one.manager]
    command = manager.commands()[one.name]
    assert command.schema == object_of(one.takes, one.required)
    assert command.beside is one.beside


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_an_answer_shows_what_it_is_said_to_show(cls: type[object], one: Setting) -> None:
    component, typed = SHOWN[cls]
    schema = COMPONENTS[component]
    assert one.name in schema["required"]
    assert one.name in typed.__annotations__
    answer: Mapping[str, Any] = project_json(PROJECT) if cls is Project else user_json(USER)
    Draft202012Validator(schema["properties"][one.name]).validate(answer[one.name])


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_the_database_has_a_column_that_may_be_null_where_the_setting_may(
    cls: type[object], one: Setting
) -> None:
    column = ROWS[cls].__table__.c[one.name]
    assert column.nullable is isinstance(one.kind, OrNone)


@pytest.mark.parametrize(("cls", "one"), DECLARED)
def test_the_page_has_a_row_for_it(cls: type[object], one: Setting) -> None:
    text = "\n".join(pages().settings_table("Settings", settings_of(cls)))
    assert f"``{one.name}``" in text
    assert one.help in text


def test_every_row_of_a_table_is_a_field_and_every_field_that_people_set_is_in_it() -> None:
    assert {one.name for one in PROJECT_SETTINGS} < set(Project.__dataclass_fields__)
    assert {one.name for one in USER_SETTINGS} < set(Association.__dataclass_fields__)
    inner = {"project_id", "name", "domain_id", "parent_id", "nova_quota", "handover", "gone",
             "rule", "generation"}  # fmt: skip
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
def test_an_option_gives_what_the_schema_takes(words: list[str], expected: dict[str, Any]) -> None:
    found = parsed(words, PROJECT_SETTINGS)
    assert found == expected
    schemas = schemas_of(PROJECT_SETTINGS)
    for name, value in found.items():
        Draft202012Validator(schemas[name]).validate(value)


def test_a_switch_is_given_or_not_and_has_no_opposite() -> None:
    assert parsed(["--dry-run"], CAREFULLY) == {"dry_run": True}
    assert parsed([], CAREFULLY) == {}
    with pytest.raises(SystemExit):
        parsed(["--no-force"], CAREFULLY)


class Answering:
    """An HTTP server that knows the project A with its user ulla."""

    def request(self, path: str, method: str, **options: bool | dict[str, int]) -> Response:
        found = {
            "/v1/projects/A": {"project": {"id": "id of A"}},
            "/v1/projects/A/users": {
                "users": [{"user_id": "id of ulla", "name": "ulla"}], "next": None
            },
        }  # fmt: skip
        answer = Response()
        answer.status_code, answer._content = 200, json.dumps(found[path]).encode()
        return answer


@pytest.mark.parametrize(
    ("words", "table", "expected"),
    [
        (["--project", "A"], REQUEST_FILTERS, {"project_id": "id of A"}),
        (
            ["--project", "A", "--user", "ulla", "--state", "HELD"],
            REQUEST_FILTERS,
            {"project_id": "id of A", "user_id": "id of ulla", "state": ["HELD"]},
        ),
        (["--project", "A", "--user", "ulla"], CHANGE_FILTERS,
         {"project_id": "id of A", "user_id": "ulla"}),
        (["--request", "r", "--since", "2026-01-31"], EVENT_FILTERS,
         {"request_id": "r", "since": "2026-01-31"}),
        (["--group-by", "user", "--period", "day"], USAGE, {"group_by": ["user"], "period": "day"}),
    ],
)  # fmt: skip
def test_a_project_or_user_is_named_and_its_id_is_asked_for(
    words: list[str], table: tuple[Argument, ...], expected: dict[str, Any]
) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, table)
    adapter: Any = Answering()
    client: Any = SimpleNamespace(projects=Projects(Api(adapter)))
    assert filters_given(client, parser.parse_args(words), table) == expected


@pytest.mark.parametrize("word", ["-1", "1.5", "x", "", "9" * 17, "²"])
def test_a_number_that_is_none_is_no_option(word: str) -> None:
    with pytest.raises(argparse.ArgumentError, match="whole number"):
        parsed([f"--ttl-s={word}"], PROJECT_SETTINGS)
    with pytest.raises(argparse.ArgumentError, match="whole number"):
        parsed([f"--raw-shares={word}"], PROJECT_SETTINGS)


# --- filters --------------------------------------------------------------------------------------

LISTS = {
    "list_requests": (requests.ROUTES, "list", (*REQUEST_FILTERS, *SORTING, LIMIT, MARKER)),
    "list_events": (reads.ROUTES, "events", (*EVENT_FILTERS, LIMIT, NUMBER)),
    "list_audit": (audit.ROUTES, None, (*CHANGE_FILTERS, LIMIT, NUMBER)),
}
ENTRIES = {
    **dict.fromkeys(REQUEST_FILTERS, RequestRow),
    **dict.fromkeys(EVENT_FILTERS, StepRow),
    **dict.fromkeys(CHANGE_FILTERS, AuditRow),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_asked_for_by_what_is_declared_and_by_nothing_else(name: str) -> None:
    routes, command, table = LISTS[name]
    query = next(route.query for route in routes if route.name == name)
    assert set(query) == {one.name for one in table}
    for one in table:
        declared = schemas_of([one])[one.name]
        assert one.help in declared["description"]
        assert {part: query[one.name][part] for part in declared} == declared
    if command is not None:
        taken = QueueManager.commands()[command].schema["properties"]
        assert taken == schemas_of(table)


@pytest.mark.parametrize("name", LISTS)
def test_the_page_has_a_row_for_each_filter(name: str) -> None:
    *_, table = LISTS[name]
    text = "\n".join(pages().arguments_table("Filters", table))
    for one in table:
        assert f"``{one.name}``" in text
        assert one.help in text
        assert one.kind.words() in text


@pytest.mark.parametrize("command", [ListRequests, ListEvents, ListAudit])
def test_each_filter_is_an_option_of_its_list(command: type[Lister]) -> None:
    table = {ListRequests: REQUEST_FILTERS, ListEvents: EVENT_FILTERS, ListAudit: CHANGE_FILTERS}
    parser = command(SynergyApp([]), None).get_parser("x")
    options = {option for action in parser._actions for option in action.option_strings}
    assert {name_of(one) for one in table[command]} <= options


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: f"{one.name}: {one.help}")
def test_each_filter_is_about_a_field_that_is_stored(one: Filter) -> None:
    if one.kind == Instant():
        assert "at" in ENTRIES[one].__table__.c
    elif one.field == "quota":
        assert "quota" in ClassRow.__table__.c
    else:
        assert one.field in ENTRIES[one].__table__.c


def test_each_filter_and_sort_key_of_one_column_has_an_index() -> None:
    table = Base.metadata.tables[RequestRow.__tablename__]
    indexed = {tuple(index.columns.keys()) for index in table.indexes}
    assert {(column.key, "seq") for column in columns_of(REQUEST_FILTERS).values()} <= indexed
    several = {"state", "user_id", "project_id", "seq"}
    assert {(field, "seq") for field in SORT_KEYS.values() if field not in several} <= indexed


class MoreRequestFilters(RequestFilters, total=False):
    host: Annotated[str | None, Filter(kind=Text(), help="Only servers on this host.")]
    unsettled: Annotated[
        Sequence[State],
        Filter(kind=Several(Choice(State)), help="Not these.", name="not", field="state"),
    ]


def test_one_entry_more_is_one_filter_more() -> None:
    more = filters_of(MoreRequestFilters)
    assert more[: len(REQUEST_FILTERS)] == REQUEST_FILTERS
    schema = object_of(schemas_of(more))
    assert Draft202012Validator(schema).is_valid({"host": "n1", "not": ["QUEUED"]})
    assert not Draft202012Validator(schema).is_valid({"not": ["QUEUEING"]})
    assert not Draft202012Validator(object_of(schemas_of(REQUEST_FILTERS))).is_valid({"host": "n"})
    words = ["--host", "n1", "--not", "QUEUED", "--not", "HELD"]
    found = parsed(words, more)
    assert found == {"host": "n1", "not": ["QUEUED", "HELD"]}
    assert keywords_in(found, more) == {"host": "n1", "unsettled": (State.QUEUED, State.HELD)}
    assert columns_of(more)["host"] is RequestRow.host


def test_an_instant_is_read_or_refused_by_its_name() -> None:
    assert keywords_in({"since": "2026-01-31T12:00:00Z"}, EVENT_FILTERS) == {
        "since": datetime(2026, 1, 31, 12, tzinfo=UTC)
    }
    with pytest.raises(InvalidInput, match="since is 'noon', but must be an instant"):
        keywords_in({"since": "noon"}, EVENT_FILTERS)


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


def test_one_entry_more_is_one_setting_more() -> None:
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
def test_it_is_taken_within_its_bounds(body: dict[str, Any], fits: bool) -> None:
    schema = change_of(schemas_of(MORE), {})
    assert Draft202012Validator(schema).is_valid(body) is fits
    assert not Draft202012Validator(change_of(schemas_of(PROJECT_SETTINGS), {})).is_valid(
        {"grace_s": 1}
    )


def test_it_is_an_option_with_its_help() -> None:
    words = ["--grace-s", "5", "--secret-note", "x", "--on-grace-over", "none"]
    assert parsed(words, MORE) == {"grace_s": 5, "secret_note": "x", "on_grace_over": None}
    assert parsed(["--on-grace-over", "stop"], MORE) == {"on_grace_over": "stop"}
    with pytest.raises(argparse.ArgumentError, match="invalid choice"):
        parsed(["--on-grace-over", "burn"], MORE)
    parser = argparse.ArgumentParser()
    add_options(parser, MORE)
    text = " ".join(parser.format_help().split())
    assert "--grace-s SECONDS Grace at the end, seconds." in text
    assert (
        "--on-grace-over {delete,shelve,stop,snapshot_delete,stop_delete,none} What is done" in text
    )
    assert "What operators note, in 100%; 'none': none is kept." in text
    assert name_of(ADDED[0]) == "--grace-s"


def test_it_is_shown_and_what_operators_alone_see_is_null_to_others() -> None:
    project = Imagined(project_id="p", name="P", domain_id="d", secret_note="noisy")
    shown: Mapping[str, Any] = project_json(project, MORE)
    assert (shown["grace_s"], shown["secret_note"]) == (60, "noisy")
    schema = project_schema(MORE)
    assert {"grace_s", "secret_note"} <= set(schema["required"])
    Draft202012Validator(schema).validate(shown)
    seen = Visibility(COMPONENTS).to_project(schema, shown)
    assert seen == {**shown, "secret_note": None}


def test_it_has_a_column_and_a_row_of_the_page() -> None:
    assert column_of(ADDED[0].kind).column.nullable is False
    assert column_of(ADDED[1].kind).column.nullable is True
    text = "\n".join(pages().settings_table("Settings", MORE))
    assert "a whole number of seconds, 0 to 3600" in text
    assert "``60``" in text
    assert text.count("operators\n") + text.endswith("operators") == 1


class Colour(Explained):
    RED = "red", "stop"
    GREEN = "green", "go"


def test_a_word_is_declared_with_its_meaning() -> None:
    kind = Choice(Colour)
    assert kind.schema() == {
        "type": "string", "enum": ["red", "green"], "description": "red: stop; green: go."
    }  # fmt: skip
    assert kind.words() == "``red``: stop; ``green``: go"
    assert kind.read("green") is Colour.GREEN
    assert (Colour("red"), Colour.RED.value, f"{Colour.RED}") == (Colour.RED, "red", "red")
    found = schemas_of([Setting(name="colour", kind=kind, help="Its colour.", default="red")])
    assert found["colour"]["description"] == "Its colour. red: stop; green: go."


def test_the_page_has_each_duty_of_each_manager_with_how_often_it_is_done() -> None:
    found = {(row[0], row[1]): row[2:] for row in pages().duties_rows(manager_classes())}
    assert set(found) == {
        (name, f"``{duty.name}``") for name, cls in manager_classes().items() for duty in cls.duties
    }
    assert found["nova", "``_compare_all``"][0] == "``[nova] full_reconcile_s``"
    assert found["nova", "``_settle``"][0] == "4 times in ``[nova] settle_s``"
    asked, does = found["nova", "``_ask_about_broken_builds``"]
    assert asked == "1 s, while there is something to do"
    assert does.endswith("no notification says so.")


def test_the_page_says_what_each_reason_means_and_what_ends_it() -> None:
    text = "\n".join(pages().reasons_table(Reason))
    for reason in Reason:
        assert f"``{reason}``" in text
        assert reason.meaning in text
        assert reason.unblocked_by in text


VALUES = [
    (Number(1, 5), 3, 3),
    (Flag(), True, True),
    (Choice(ExpiryAction), "stop", ExpiryAction.STOP),
    (OrNone(Choice(ExpiryAction), "nothing"), None, None),
    (PROJECT_SETTINGS[0].kind, "parent", None),
    (PROJECT_SETTINGS[0].kind, MAX - 1, MAX - 1),
]


@pytest.mark.parametrize(("kind", "given", "value"), VALUES)
def test_what_is_read_is_shown_as_it_was_given(
    kind: Kind, given: str | int | None, value: int | ExpiryAction | None
) -> None:
    Draft202012Validator(kind.schema()).validate(given)
    table = [Setting(name="x", kind=kind, help="X.", default=None)]
    assert read({"x": given, "y": 1}, table) == {"x": value}
    assert type(kind.read(given)) is type(value)
    assert kind.show(value) == given


def test_amounts_are_shown_by_class() -> None:
    limit = next(one for one in PROJECT_SETTINGS if one.name == "borrow_limit").kind
    assert limit.show(Resources.limit({"VCPU": 0})) == {"VCPU": 0}
    assert limit.show(None) is None

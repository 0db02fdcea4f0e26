"""What managers declare of their commands is a schema, and arguments are held to it."""

from importlib.metadata import entry_points

import pytest
from jsonschema import Draft202012Validator

from synergy.core.errors import InvalidInput
from synergy.managers.base import Command

CLASSES = {one.name: one.load() for one in entry_points(group="synergy.managers")}
COMMANDS = [
    pytest.param(command, id=f"{name} {command.name}")
    for name, cls in sorted(CLASSES.items())
    for command in cls.commands().values()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_declares_a_schema(command: Command) -> None:
    Draft202012Validator.check_schema(command.schema)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_what_it_does_not_declare(command: Command) -> None:
    with pytest.raises(InvalidInput, match=f"^of {command.name}: "):
        command.check({"unheard-of": 1}, "of")


def test_a_command_of_a_manager_names_the_argument_that_is_wrong() -> None:
    command = CLASSES["queue"].commands()["list"]
    with pytest.raises(
        InvalidInput, match='^queue list: limit is "many", but must be a whole number'
    ):
        command.check({"limit": "many"}, "queue")

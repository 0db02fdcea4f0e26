"""What a command of a manager is: what it takes, and what it answers.

Must not know any particular command, nor what one does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from synergy.core.declared.fields import Argument, schemas_of
from synergy.core.declared.kinds import LONGEST_ID, Schema, Switch

A = TypeVar("A", covariant=True)
DRY_RUN: Final = Argument(
    name="dry_run", kind=Switch(), help="Change nothing, and show what would happen."
)
# What other programs give as an id is looked up as it is: no text is wrong, it is only unknown.
ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}


@dataclass(frozen=True, kw_only=True, eq=False)  # a generic one cannot have slots
class ManagerCommand(Generic[A]):
    """A command of a manager, whose answer is an A.

    takes        the schema of each argument, by name
    required     those that have to be given
    beside       it may run while the manager is at work: it reads the store, and values of the
                 manager that are replaced as a whole
    destructive  it may end servers, stop waiting requests, or lose what nobody can restore: it
                 takes `dry_run` too, and then changes nothing
    """

    manager: str
    name: str
    takes: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    beside: bool = False
    destructive: bool = False

    def __post_init__(self) -> None:
        if self.destructive:
            object.__setattr__(self, "takes", {**self.takes, **schemas_of([DRY_RUN])})

    def without(self, *filled_in: str) -> dict[str, Schema]:
        """Return what a route takes on behalf of the command: all but what it fills in itself."""
        return {name: schema for name, schema in self.takes.items() if name not in filled_in}

    def only(self, table: Iterable[Argument]) -> dict[str, Schema]:
        """Return what it takes of a table of arguments."""
        return {one.name: self.takes[one.name] for one in table}

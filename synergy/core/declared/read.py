"""What can be read of the whole: a command with the path, the rule and the answer it has outside.

Why: such a resource needs nothing that is its own on its way from the manager to the client, so the
route, the policy rules, the schema of its answer and the client's method are made from this one
value. Must not know any particular resource, HTTP or oslo.policy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from synergy.core.declared.command import A, ManagerCommand


@dataclass(frozen=True, slots=True)
class OfOperators:
    """Those who operate the cloud see it."""

    rule: str


@dataclass(frozen=True, slots=True)
class OfProjects:
    """Readers of a project see what is its own, those who operate the cloud everybody's.

    rule, rule_all  what the two rules let people do. The command takes `project_id`.
    """

    rule: str
    rule_all: str


@dataclass(frozen=True, slots=True)
class OfOneProject:
    """It is of one project, named by id or name, that of the token by default, and asked for by a
    user of it or by somebody else. The command takes `project_id` and `user_id`."""

    rule: str


Whose = OfOperators | OfProjects | OfOneProject


@dataclass(frozen=True, kw_only=True, eq=False)
class Read(ManagerCommand[A]):
    """A command that only reads, and is asked for by GET.

    path       of the resource, such as /v1/usage
    operation  its operation id
    method     of the client's `Reports`
    summary    a sentence about what it shows
    noun       what its rules are about
    whose      who may see it
    answer     what is answered
    key        the answer is shown under this name; as it is, without one
    marker     of a list that is read page by page, the field that tells where the next page begins
    costly     it takes longer than others, so that each caller may ask for it so often only
    """

    path: str
    operation: str
    method: str
    summary: str
    noun: str
    whose: Whose
    answer: type[A]
    key: str = ""
    marker: str = ""
    costly: bool = False
    beside: bool = True

    def of_caller(self) -> tuple[str, ...]:
        """Return which arguments are no parameters, since they tell who asks."""
        return ("user_id",) if isinstance(self.whose, OfOneProject) else ()

    def parts(self) -> dict[str, Any]:
        """Return the types of what is shown, by name."""
        return (
            {self.key: self.answer}
            if self.key
            else get_type_hints(self.answer, include_extras=True)
        )

    def list_name(self) -> str:
        """Return under which name a list is shown, "" where none is."""
        return next((name for name, part in self.parts().items() if get_origin(part) is list), "")

    def nouns(self) -> Iterator[type]:
        """Yield the answers that get a name of their own in the API."""
        for part in self.parts().values():
            if is_typeddict(item_of(part)):
                yield item_of(part)


def item_of(part: Any) -> Any:
    """Return what a type is a list of, or the type itself."""
    return get_args(part)[0] if get_origin(part) is list else part

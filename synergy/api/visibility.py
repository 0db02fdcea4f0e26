"""What of an answer is for those who operate the cloud only, said by its schema, field by field.

Why: a handler that forgets to leave something out cannot tell it all the same. A field that its
schema marks with OPERATORS_ONLY is null for everybody else, and one marked with FOREIGN_TEXT, which
may hold words of Nova or of the broker about hosts, says what became of the request instead. Must
not know handlers.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from synergy.api.routing import Schema
from synergy.core.declared.answers.parts import FOREIGN_TEXT, OPERATORS_ONLY
from synergy.core.lifecycle import Event
from synergy.core.model import State

# Events whose reason Synergy itself words, for the project to read.
_OWN_WORDS: Final = frozenset(
    {
        Event.ADMITTED, Event.REFUSED, Event.ADOPTED, Event.HELD, Event.RELEASED, Event.EXTENDED,
        Event.MOVED_TO_SHARED, Event.SELECTED, Event.TTL_REACHED, Event.RESIZED,
        Event.CHANGE_REFUSED, Event.CANCELLED, Event.UNMANAGED, Event.EXPIRY_WARNED,
        Event.EXPIRY_WAIVED, Event.EXTENSION_REFUSED,
    }
)  # fmt: skip
_INSTEAD: Final[Mapping[Event, str]] = {
    Event.UNREADABLE: "its message cannot be read: an operator has to look at it",
    Event.HAND_OVER_FAILED: "it could not be handed over, and will be tried again",
    Event.GAVE_UP: "it could not be handed over: an operator has to look at it",
    Event.LOST: "nothing was heard of it since it was handed over",
    Event.RELOCATED: "its server is on another host, or on none",
    Event.END_REFUSED: "Nova does not end its server now: it will be tried again",
    Event.ATTEMPT_FAILED: "the build failed on a host",
    Event.BUILD_FAILED: "Nova gave the build up: the server's fault says why",
}
# Where a request has no history with it, its state says which event was the last.
_OWN_STATES: Final = frozenset({State.HELD, State.REJECTED, State.CANCELLED, State.EXPIRING})
_OF_STATE: Final[Mapping[State, Event]] = {
    State.ERROR: Event.BUILD_FAILED,
    State.QUARANTINED: Event.GAVE_UP,
}


def operators_only(schema: Schema) -> dict[str, object]:
    """Mark a field that is null for everybody who does not operate the cloud."""
    return {**schema, OPERATORS_ONLY: True}


def public_why(why: str, *, event: Event | None = None, state: State | None = None) -> str:
    """Return what a project reads of why something happened to its request."""
    if event is None and state is not None:
        if state in _OWN_STATES:
            return why
        event = _OF_STATE.get(state)
    if not why or event in _OWN_WORDS:
        return why
    return _INSTEAD.get(event, "") if event is not None else ""


class Visibility:
    """Leaves out of answers what is not for a project to see."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components

    def to_project(self, schema: Schema | None, value: object) -> Any:
        """Return an answer as somebody sees it who does not operate the cloud."""
        schema = self._resolved(schema or {})
        if schema.get(OPERATORS_ONLY):
            return None
        if isinstance(value, list):
            return [self.to_project(schema.get("items"), one) for one in value]
        if not isinstance(value, dict):
            return value
        parts = schema.get("properties", {})
        shown = {name: self.to_project(parts.get(name), one) for name, one in value.items()}
        for name in shown:
            if isinstance(shown[name], str) and self._is_foreign(parts.get(name)):
                shown[name] = public_why(shown[name], **_known(value))
        return shown

    def fields(self, schema: Schema | None, place: str = "") -> Iterator[tuple[str, str]]:
        """Walk the fields of an answer: where each is, and to whom it is shown."""
        schema = self._resolved(schema or {})
        if schema.get(OPERATORS_ONLY):
            yield place, OPERATORS_ONLY
        elif self._is_foreign(schema):
            yield place, FOREIGN_TEXT
        elif "items" in schema:
            yield from self.fields(schema["items"], f"{place}[]")
        elif "properties" in schema:
            for name, part in schema["properties"].items():
                yield from self.fields(part, f"{place}.{name}".lstrip("."))
        elif place:
            yield place, ""

    def _is_foreign(self, schema: Schema | None) -> bool:
        return bool(self._resolved(schema or {}).get(FOREIGN_TEXT))

    def _resolved(self, schema: Schema) -> Schema:
        """Follow a reference, and take of alternatives the one that is not null."""
        while True:
            if "$ref" in schema:
                marks = {name: part for name, part in schema.items() if name != "$ref"}
                schema = {**self._components[schema["$ref"].rpartition("/")[2]], **marks}
            elif "anyOf" in schema and not schema.get(OPERATORS_ONLY):
                others = [one for one in schema["anyOf"] if one.get("type") != "null"]
                if len(others) != 1:
                    return schema
                schema = others[0]
            else:
                return schema


def _known(value: Mapping[str, Any]) -> dict[str, Any]:
    if "event" in value:
        return {"event": Event(value["event"])}
    if value.get("history"):
        return {"event": Event(value["history"][-1]["event"])}
    return {"state": State(value["state"])} if "state" in value else {}

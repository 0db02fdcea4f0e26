"""Each notification is declared once, with a version, a schema and an example that fits it."""

import re

import pytest
from jsonschema import Draft202012Validator

from synergy.core.declared.notifications import (
    CANCELLED,
    NOT_SENT,
    NOTIFICATIONS,
    SENT,
    Notification,
    RequestPayload,
    of_step,
    sample,
)
from synergy.core.lifecycle import Event, Step
from synergy.core.model import State
from tests.builders import NOON, rid


def test_whether_an_event_is_sent_is_declared_for_each() -> None:
    assert set(SENT) | NOT_SENT == set(Event)
    assert not set(SENT) & NOT_SENT


def test_names_are_unique_and_in_the_form_of_event_types() -> None:
    names = [one.name for one in NOTIFICATIONS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"synergy\.(request|quota)\.[a-z_]+", name) for name in names)


@pytest.mark.parametrize("declared", NOTIFICATIONS, ids=lambda one: one.name)
def test_the_example_fits_the_schema_and_has_the_version(declared: Notification) -> None:
    shown = sample(declared)
    Draft202012Validator(declared.schema()).validate(shown)
    assert shown["version"] == declared.version
    assert declared.sent.endswith(".")


def test_what_was_deleted_while_it_waited_is_cancelled() -> None:
    step = Step(
        request_id=rid(1), at=NOON, from_state=State.QUEUED, to_state=State.CANCELLED,
        event=Event.REMOVED,
    )  # fmt: skip
    assert of_step(step) is CANCELLED


def test_a_field_is_not_renamed_without_a_new_version() -> None:
    assert {one.version for one in SENT.values()} == {"1.0"}
    assert list(RequestPayload.__annotations__) == [
        "version", "number", "at", "event", "state", "reason", "why", "request_id",
        "server_name", "project_id", "user_id", "flavor", "demand", "quota", "batch_id",
        "round_id", "ttl_s", "expires_at",
    ]  # fmt: skip

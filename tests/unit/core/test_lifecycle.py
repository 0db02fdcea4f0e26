from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.errors import IllegalTransition
from synergy.core.lifecycle import (
    ABSORBED,
    TERMINAL,
    TRANSITIONS,
    Event,
    diagram,
    holds_quota,
    transition,
)
from synergy.core.model import QuotaKind, State
from tests.builders import NOON, kind, request

PAIRS = [(state, event) for state in State for event in Event]


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda value: value.value)
def test_every_event_in_every_state_moves_or_is_absorbed_or_is_refused(
    state: State, event: Event
) -> None:
    before = request(state=state)
    if (state, event) in TRANSITIONS:
        assert (state, event) not in ABSORBED
        moved = transition(before, event, NOON, why="because", round_id="r")
        assert moved.request.state is TRANSITIONS[state, event]
        assert moved.step is not None
        assert (moved.step.from_state, moved.step.to_state) == (state, moved.request.state)
        assert (moved.step.why, moved.step.round_id) == ("because", "r")
    elif (state, event) in ABSORBED:
        assert transition(before, event, NOON) == (transition(before, event, NOON))
        assert transition(before, event, NOON).request is before
        assert transition(before, event, NOON).step is None
    else:
        with pytest.raises(IllegalTransition, match=before.request_id):
            transition(before, event, NOON)


def test_nothing_leaves_an_end_state_but_a_server_that_runs_in_nova() -> None:
    leaving = {event for state, event in TRANSITIONS if state in TERMINAL}
    assert leaving == {Event.REVIVED}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.RECEIVED, *TRANSITIONS.values()}
    assert reached == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State)


@given(st.lists(st.sampled_from(Event), max_size=30), st.booleans())
def test_quota_is_held_exactly_between_held_from_and_released_at(
    events: Sequence[Event], on_a_host: bool
) -> None:
    one = request(host="node1" if on_a_host else None)
    for step, event in enumerate(events):
        at = NOON + timedelta(seconds=step)
        try:
            moved = transition(one, event, at)
        except IllegalTransition:
            continue
        if holds_quota(moved.request) and not holds_quota(one):
            assert (moved.request.held_from, moved.request.released_at) == (at, None)
        if holds_quota(one) and not holds_quota(moved.request):
            assert moved.request.released_at == at
        one = moved.request
        assert holds_quota(one) == (one.held_from is not None and one.released_at is None)


def test_a_shared_server_gets_its_end_when_it_becomes_active_and_keeps_it() -> None:
    active = transition(request(state=State.BUILDING, ttl_s=60), Event.BOOTED, NOON).request
    assert active.expires_at == NOON + timedelta(seconds=60)
    parked = transition(active, Event.SHELVED, NOON + timedelta(seconds=5)).request
    back = transition(parked, Event.UNSHELVED, NOON + timedelta(seconds=9)).request
    assert back.expires_at == active.expires_at


def test_a_private_server_never_gets_an_end() -> None:
    private = request(state=State.BUILDING, request_class=kind(quota=QuotaKind.PRIVATE))
    assert transition(private, Event.BOOTED, NOON).request.expires_at is None


def test_a_failed_server_holds_quota_only_while_it_is_on_a_host() -> None:
    assert holds_quota(replace(request(state=State.ERROR), host="node1"))
    assert not holds_quota(request(state=State.ERROR))


def test_the_diagram_has_an_arrow_for_every_pair_of_states() -> None:
    drawn = diagram()
    for (source, _), target in TRANSITIONS.items():
        assert f"{source} -> {target} " in drawn


@pytest.mark.parametrize(
    ("event", "words"),
    [(Event.HELD, "held"), (Event.RELEASED, "released"), (Event.EXTENDED, "extended")],
)
def test_who_asks_for_what_cannot_happen_is_told_when_it_can(event: Event, words: str) -> None:
    before = request(state=State.CANCELLED)
    with pytest.raises(IllegalTransition) as caught:
        transition(before, event, NOON)
    said = str(caught.value)
    assert said.startswith(f"request {before.request_id} is CANCELLED: only one that is ")
    assert said.endswith(f" can be {words}")
    takes = said.removesuffix(f" can be {words}").partition("only one that is ")[2].split(" or ")
    assert takes == [state for state in State if TRANSITIONS.get((state, event))]

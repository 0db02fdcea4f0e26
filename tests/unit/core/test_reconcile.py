from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.lifecycle import (
    ABSORBED,
    TERMINAL,
    TRANSITIONS,
    WAITING,
    Event,
    holds_quota,
    transition,
)
from synergy.core.model import Resources, ServerStatus, State
from synergy.core.reconcile import RUNNING, TABLE, Stay, missed
from tests.builders import NOON, request

PAIRS = [(state, status) for state in State for status in ServerStatus]


def test_every_pair_has_its_row() -> None:
    assert set(TABLE) == set(PAIRS)


@pytest.mark.parametrize(("state", "status"), PAIRS, ids=lambda value: value.value)
def test_what_nova_shows_moves_a_request_to_where_it_moves_no_further(
    state: State, status: ServerStatus
) -> None:
    one = request(state=state)
    for _ in range(3):
        event = missed(one, status, host="node1" if status in RUNNING else None)
        if event is None:
            break
        assert (one.state, event) in TRANSITIONS, f"{event} is not possible in {one.state}"
        assert (one.state, event) not in ABSORBED
        host = "node1" if status in RUNNING else None
        one = transition(one, event, NOON, host=host).request
    else:
        pytest.fail(f"{state} never comes to rest while Nova says {status}")
    assert TABLE[one.state, status] in Stay


@pytest.mark.parametrize("state", State, ids=lambda value: value.value)
def test_a_server_that_runs_is_never_out_of_the_books(state: State) -> None:
    for status in RUNNING:
        one = request(state=state)
        while event := missed(one, status, host="node1"):
            one = transition(one, event, NOON, host="node1").request
        assert holds_quota(one)


@pytest.mark.parametrize("state", State, ids=lambda value: value.value)
def test_what_nova_does_not_know_holds_nothing(state: State) -> None:
    one = request(state=state)
    if event := missed(one, ServerStatus.DELETED):
        one = transition(one, event, NOON).request
    assert one.state in TERMINAL
    assert not holds_quota(one)


@pytest.mark.parametrize("state", sorted(WAITING))
def test_what_nova_builds_already_is_not_queued_any_longer(state: State) -> None:
    for status in set(ServerStatus) - {ServerStatus.SCHEDULING, ServerStatus.UNKNOWN}:
        event = missed(request(state=state), status)
        assert event is not None
        assert TRANSITIONS[state, event] not in WAITING


def test_another_host_and_another_size_are_noticed_where_the_server_runs() -> None:
    one = replace(request(state=State.ACTIVE), host="node1")
    assert missed(one, ServerStatus.ACTIVE, host="node2") is Event.RELOCATED
    assert missed(one, ServerStatus.ACTIVE, host="node2", in_task=True) is None
    assert missed(one, ServerStatus.ACTIVE, host=None) is None  # Nova does not say
    larger = Resources.of(VCPU=64)
    assert missed(one, ServerStatus.ACTIVE, host="node1", demand=larger) is Event.RESIZED
    assert missed(one, ServerStatus.ACTIVE, host="node1", demand=larger, in_task=True) is None
    assert missed(one, ServerStatus.ACTIVE, host="node1", demand=one.demand) is None


def test_a_failed_server_that_left_its_host_holds_nothing_any_longer() -> None:
    failed = replace(request(state=State.ERROR), host="node1", held_from=NOON)
    assert holds_quota(failed)
    event = missed(failed, ServerStatus.ERROR, host=None)
    assert event is Event.RELOCATED
    gone = transition(failed, event, NOON, host=None).request
    assert not holds_quota(gone)
    assert gone.released_at == NOON
    back = transition(gone, Event.BOOTED, NOON, host="node2").request
    assert (back.held_from, back.released_at) == (NOON, None)


@given(st.sampled_from(State), st.lists(st.sampled_from(ServerStatus), max_size=8))
def test_nothing_that_nova_shows_is_illegal(state: State, shown: Sequence[ServerStatus]) -> None:
    one = request(state=state)
    for status in shown:
        event = missed(one, status)
        if event is not None:
            one = transition(one, event, NOON).request

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.errors import InvalidInput
from synergy.core.model import RequestClass
from synergy.core.queue import Waiting, WaitingQueue
from tests.builders import kind, kinds_that_differ, packed, rid, times


def members(waiting: Waiting) -> dict[int, list[tuple[float, str]]]:
    """Every request of a snapshot: class id -> [(instant, id)], oldest first."""
    return {
        int(waiting.class_id[row]): [
            (waiting.lines[row].queued_at_s[n], str(UUID(bytes=waiting.lines[row].id_at(n))))
            for n in range(waiting.first[row], waiting.end[row])
        ]
        for row in range(len(waiting))
    }


steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(1, 2), st.integers(1, 9)),
    max_size=60,
)  # fmt: skip


@given(steps, st.integers(0, 60))
def test_the_queue_is_a_sorted_list_for_each_class_and_a_snapshot_stays_true(
    steps: Sequence[tuple[str, int, int]], halfway: int
) -> None:
    queue = WaitingQueue()
    model: dict[int, list[tuple[float, str]]] = {}
    taken = None
    for position, (what, class_id, number) in enumerate(steps):
        at_s = number * 7 % 5  # ids and instants are ordered differently, and instants repeat
        if position == halfway:
            taken = queue.snapshot(), {key: sorted(line) for key, line in model.items() if line}
        entry = (float(at_s), rid(number))
        line = model.setdefault(class_id, [])
        if what == "add":
            added = queue.add(class_id, kind(class_id), rid(number), float(at_s))
            assert added == (entry not in line)
            if added:
                line.append(entry)
        else:
            removed = queue.remove(class_id, rid(number), float(at_s))
            assert removed == (entry in line)
            if removed:
                line.remove(entry)
    expected = {key: sorted(line) for key, line in model.items() if line}
    now = queue.snapshot()
    assert members(now) == expected
    assert len(queue) == now.request_count == sum(map(len, expected.values()))
    heads = {int(c): float(at) for c, at in zip(now.class_id, now.head_queued_at_s, strict=True)}
    assert heads == {key: line[0][0] for key, line in expected.items()}
    if taken is not None:
        assert members(taken[0]) == taken[1]


def test_a_long_line_is_taken_from_its_head_without_losing_anyone() -> None:
    queue = WaitingQueue()
    queue.load(1, kind(), packed(range(5000)), times([float(n) for n in range(5000)]))
    for number in range(4000):
        assert queue.remove(1, rid(number), float(number))
    assert members(queue.snapshot()) == {1: [(float(n), rid(n)) for n in range(4000, 5000)]}


def test_empty_classes_are_forgotten_and_come_back() -> None:
    queue = WaitingQueue()
    for class_id in range(1, 3001):
        queue.add(class_id, kind(nice=class_id), rid(class_id), 1.0)
    for class_id in range(1, 3000):
        queue.remove(class_id, rid(class_id), 1.0)
    assert members(queue.snapshot()) == {3000: [(1.0, rid(3000))]}
    queue.add(5, kind(nice=5), rid(5), 2.0)
    assert members(queue.snapshot()) == {3000: [(1.0, rid(3000))], 5: [(2.0, rid(5))]}
    assert queue.snapshot().nice.tolist() == [3000, 5]


def test_shapes_that_nobody_asks_for_any_longer_are_forgotten() -> None:
    queue = WaitingQueue()
    for number in range(1, 3001):
        one = kind(1 + number % 2, constraints=(("server_group", f"g{number}"),))
        queue.add(number, one, rid(number), 1.0)
    for number in range(1, 2999):
        queue.remove(number, rid(number), 1.0)
    found = queue.snapshot()
    assert [dict(found.placement[shape])["server_group"] for shape in found.shape] == [
        "g2999", "g3000",
    ]  # fmt: skip
    assert found.demand[found.shape].tolist() == [[2], [1]]
    assert len(found.demand) == len(found.placement) == 2


def test_packed_members_that_do_not_match_are_refused() -> None:
    with pytest.raises(InvalidInput, match="class 1: 16 id bytes, 2 times"):
        WaitingQueue().load(1, kind(), packed([1]), times([1.0, 2.0]))


@pytest.mark.parametrize("other", kinds_that_differ()[1:])
def test_a_class_that_differs_in_any_field_is_another_row(other: RequestClass) -> None:
    queue = WaitingQueue()
    queue.add(1, kind(), rid(1), 5.0)
    waiting = queue.snapshot()
    same, row = waiting.with_class(kind(), [rid(2)], 6.0)
    assert (len(same), row) == (1, 0)
    more, row = waiting.with_class(other, [rid(2)], 6.0)
    assert (len(more), row) == (2, 1)

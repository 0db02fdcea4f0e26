"""Everything that is committed is sent once and in order, in whatever order it becomes visible."""

from hypothesis import given
from hypothesis import strategies as st

from synergy.core.outbox import LONGEST_WRITE_S, Gaps


def test_a_number_that_is_missing_is_waited_for_and_then_given_up() -> None:
    gaps = Gaps()
    assert gaps.ready(0, [1, 2, 4, 5], now_s=0.0) == 2
    assert gaps.ready(2, [4, 5], now_s=LONGEST_WRITE_S - 1) == 0
    assert gaps.ready(2, [4, 5, 6], now_s=LONGEST_WRITE_S) == 3


def test_each_number_that_is_missing_has_its_own_time() -> None:
    gaps = Gaps()
    assert gaps.ready(0, [2], now_s=0.0) == 0
    assert gaps.ready(0, [2, 4], now_s=5.0) == 0
    assert gaps.ready(0, [2, 4], now_s=LONGEST_WRITE_S) == 1
    assert gaps.ready(2, [4], now_s=LONGEST_WRITE_S + 1) == 0
    assert gaps.ready(2, [4], now_s=LONGEST_WRITE_S + 5) == 1


@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.floats(0, LONGEST_WRITE_S * 0.9), st.booleans()),
        min_size=1, max_size=30,
    ),
    st.integers(1, 5),
)  # fmt: skip
def test_nothing_that_is_committed_is_passed_over(
    writes: list[tuple[float, float, bool]], page: int
) -> None:
    """writes  when each is numbered, how long until it is committed, and whether it ever is."""
    writes = sorted(writes)  # numbers are given in the order of time
    seen_at = {
        number: begun_s + takes_s
        for number, (begun_s, takes_s, committed) in enumerate(writes, 1)
        if committed
    }
    gaps, position, sent = Gaps(), 0, []
    for now_s in (tick * 0.5 for tick in range(1000)):
        visible = sorted(n for n, at_s in seen_at.items() if at_s <= now_s and n > position)
        numbers = visible[:page]
        ready = gaps.ready(position, numbers, now_s)
        sent += numbers[:ready]
        position = sent[-1] if sent else 0
    assert sent == sorted(seen_at)

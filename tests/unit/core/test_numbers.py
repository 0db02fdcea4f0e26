import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.errors import InvalidInput
from synergy.core.numbers import integer, number, shown

NO_NUMBERS: list[object] = [None, True, [], {}, "", " 1", "1 ", "1_0", "٣", "0x10", "nan", "inf", "-inf", "1e999",
              float("nan"), float("inf"), 10**400, -(10**400), "1e", ".", "+", "9" * 5000]  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS, ids=shown)
def test_what_is_no_finite_number_is_refused_with_name_value_and_bounds(value: object) -> None:
    for read in (number, integer):
        with pytest.raises(InvalidInput) as error:
            read(value, "--boot-s", lowest=-5, highest=10)
        told = str(error.value)
        assert told.startswith(f"--boot-s is {shown(value)}, but must be a ")
        assert told.endswith("number from -5 to 10")
        assert told.isprintable()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5", 5.0), (5, 5.0), ("-5", -5.0), ("+1.5e0", 1.5), (".5", 0.5), ("5.", 5.0), (-0.0, 0.0)],
)
def test_numbers_are_read_from_numbers_and_text(value: float | str, expected: float) -> None:
    assert number(value, "n", lowest=-5, highest=5) == expected


def test_integers_are_exact_where_doubles_are_not() -> None:
    assert integer(str(2**60 + 1), "n", lowest=0, highest=2**61) == 2**60 + 1
    assert integer(2**60 + 1, "n", lowest=0, highest=2**61) == 2**60 + 1
    assert integer("2.0", "n", lowest=0, highest=5) == 2
    with pytest.raises(InvalidInput, match="n is 1.5, but must be a whole number from 0 to 5"):
        integer(1.5, "n", lowest=0, highest=5)


@given(st.floats() | st.integers() | st.text() | st.floats().map(repr), st.floats(-1e6, 1e6))
def test_what_is_read_is_finite_and_within_bounds(value: float | str, bound: float) -> None:
    for read in (number, integer):
        try:
            found = read(value, "n", lowest=-abs(bound), highest=abs(bound))  # type: ignore[arg-type]
        except InvalidInput:
            continue
        assert math.isfinite(found)
        assert -abs(bound) <= found <= abs(bound)

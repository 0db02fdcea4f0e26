from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.errors import InvalidInput
from synergy.core.model import NOTHING, Resources, total

vectors = st.dictionaries(
    st.sampled_from(["VCPU", "MEMORY_MB", "CUSTOM_FPGA", "VGPU"]), st.integers(-1000, 1000)
).map(Resources.of)


def test_equal_amounts_are_equal_whatever_their_order_and_zeros() -> None:
    assert Resources.of({"VCPU": 2, "VGPU": 1}) == Resources.of({"VGPU": 1, "PCPU": 0, "VCPU": 2})


@given(vectors, vectors)
def test_what_is_added_can_be_taken_away(one: Resources, other: Resources) -> None:
    assert (one + other) - other == one
    assert one + other == other + one == total([one, other])


@given(vectors, vectors)
def test_fitting_means_that_nothing_is_missing(demand: Resources, room: Resources) -> None:
    missing = [n for n in demand if demand[n] > room.get(n, 0)]
    assert demand.fits_in(room) == (not missing)


def test_nothing_fits_everywhere() -> None:
    assert NOTHING.fits_in(NOTHING)
    assert not Resources.of(VCPU=1).fits_in(NOTHING)


@pytest.mark.parametrize(
    ("amounts", "told"),
    [
        pytest.param({"vcpu": 1}, "'vcpu' is not a resource class", id="a name in small letters"),
        pytest.param({"VCPU": -1}, "VCPU is -1", id="a negative amount"),
        pytest.param({"VCPU": 1.5}, "VCPU is 1.5", id="a fraction"),
        pytest.param({"VCPU": True}, "VCPU is True", id="a truth value"),
        pytest.param({"VCPU": 2**60}, "VCPU is", id="more than a column can sum"),
    ],
)
def test_untrusted_amounts_are_refused_by_name(amounts: Mapping[str, float], told: str) -> None:
    with pytest.raises(InvalidInput, match="flavor x: ") as caught:
        Resources.demand(amounts, of="flavor x")
    assert told in str(caught.value)

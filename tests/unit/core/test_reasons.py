"""A reason is declared once: its code, what a user reads, and what ends the wait."""

import pickle

import pytest

from synergy.core.reasons import Reason
from synergy.core.words import why_waiting


@pytest.mark.parametrize("reason", Reason)
def test_a_user_reads_the_meaning_that_is_declared(reason):
    assert reason.meaning.endswith(".")
    assert why_waiting(reason, (), {}, ahead=None) == reason.meaning


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_code_wherever_it_is_sent(reason):
    assert str(reason) == reason.value == reason == reason.name.lower()
    assert Reason(reason.value) is reason
    assert pickle.loads(pickle.dumps(reason)) is reason


def test_no_two_reasons_mean_the_same_and_each_says_what_ends_the_wait():
    assert len({reason.meaning for reason in Reason}) == len(Reason)
    assert all(reason.unblocked_by.endswith(".") for reason in Reason)

"""A reason is declared once: its code, what a user reads, and what ends the wait."""

import ast
import pickle
from pathlib import Path

import pytest

from synergy.core.reasons import Reason
from synergy.core.words import why_waiting

ROOT = Path(__file__).parents[3] / "synergy"


def given_in(source: str) -> set[str]:
    """The names of the reasons that a module gives: it uses them otherwise than to compare."""
    tree, compared = ast.parse(source), set()
    for node in ast.walk(tree):
        looks: list[ast.AST] = []
        match node:
            case ast.Compare():
                looks = [node]
            case ast.Dict(keys=keys):  # a table that is looked into
                looks = [key for key in keys if key is not None]
        compared |= {id(inner) for look in looks for inner in ast.walk(look)}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
        and id(node) not in compared
    }


def test_every_declared_reason_is_given_somewhere() -> None:
    given = set().union(*(given_in(path.read_text()) for path in ROOT.rglob("*.py")))
    assert {reason.name for reason in Reason} - given == set()


def test_what_is_only_compared_is_not_given() -> None:
    source = """
if reason is Reason.PRIORITY or reason in (Reason.FRAGMENTED, Reason.LOST): pass
TABLE = {Reason.USER_LIMIT: 1, 2: Reason.NOVA_DOWN}
wait = Wait(Reason.BROKER_DOWN)
"""
    assert given_in(source) == {"NOVA_DOWN", "BROKER_DOWN"}


@pytest.mark.parametrize("reason", Reason)
def test_a_user_reads_the_meaning_that_is_declared(reason: Reason) -> None:
    assert reason.meaning.endswith(".")
    assert why_waiting(reason, (), {}, ahead=None) == reason.meaning


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_code_wherever_it_is_sent(reason: Reason) -> None:
    assert str(reason) == reason.value == reason == reason.name.lower()
    assert Reason[reason.name] is reason
    assert pickle.loads(pickle.dumps(reason)) is reason


def test_no_two_reasons_mean_the_same_and_each_says_what_ends_the_wait() -> None:
    assert len({reason.meaning for reason in Reason}) == len(Reason)
    assert all(reason.unblocked_by.endswith(".") for reason in Reason)

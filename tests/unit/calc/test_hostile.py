"""Whatever a file holds, a calculator answers with finite numbers or with one InvalidInput."""

import gzip
import json
import math
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synergy.calc import document, fairshare, priority
from synergy.core.errors import InvalidInput

AWKWARD = [
    None, True, False, [], {}, "", " 1", "1_0", "٣", "nan", "inf", "-inf", "1e999", "-1", "0", "1",
    float("nan"), float("inf"), float("-inf"), -0.0, 0, 1, -1, 0.5, 5e-324, 1e-300, 1e30, 1e31,
    1.7e308, 2**31 - 2, 2**31 - 1, 2**32 - 1, 2**53, 2**64, 10**400, "9" * 400, "=1+1", "\ud800",
    "\x1b[2J", "parent", "UNLIMITED", "1-0", "9" * 13, "cpu=1", "cpu=" + "9" * 20 + "P",
    "mem=0.000000000001K", "cpu=1,cpu=2", "x" * 300, [1], {"cpu": 1},
]  # fmt: skip
ANYTHING = st.one_of(
    st.sampled_from(AWKWARD),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
)
LARGE = st.sampled_from([0, 1e-300, 5e-324, 1, 1e18, 1e30])
SHARES = st.sampled_from([0, 1, 3, 2**31 - 2, "parent"])


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Trees that make sense but for their numbers, from flat ones to one long chain."""
    tree: list[dict[str, Any]] = [{"id": 1, "account": "root", "user": None, "parent": None}]
    accounts = ["root"]
    for number in range(2, draw(st.integers(2, 60))):
        parent = accounts[-1] if draw(st.booleans()) else draw(st.sampled_from(accounts))
        is_user = draw(st.booleans())
        name = parent if is_user else f"a{number}"
        tree.append({
            "id": number, "account": name, "user": f"u{number}" if is_user else None,
            "parent": parent, "raw_shares": draw(SHARES),
            **({"raw_usage": draw(LARGE)} if is_user else {"own_usage": draw(LARGE)}),
        })  # fmt: skip
        if not is_user:
            accounts.append(name)
    return tree


Place = tuple[int | str, ...]  # the keys that lead to it
ALGORITHMS = st.sampled_from(["fair_tree", "classic", "classic_depth_oblivious"])


def finite(found: object) -> None:
    """Check that a program may read it: no NaN, no Infinity, no text that cannot be printed."""
    json.dumps(found, allow_nan=False).encode()


@settings(deadline=None)
@given(trees(), ALGORITHMS, st.sampled_from([1, 65533]))
def test_any_tree_within_bounds_is_computed_with_finite_numbers(
    tree: list[Any], algorithm: str, dampening: int
) -> None:
    config = {"algorithm": algorithm, "FairShareDampeningFactor": dampening}
    method = document.method_of(document.config_of({"config": config}))
    result = fairshare.compute(document.accounts_of({"tree": tree}), method)
    rows: list[dict[str, Any]] = result.rows()
    finite([rows, result.sshare()])
    assert all(0 <= row["fairshare"] <= 1 for row in rows if row["fairshare"] is not None)
    assert all(0 <= row["norm_usage"] <= 1 for row in rows if row["norm_usage"] is not None)


def whole() -> dict[str, Any]:
    return {
        "config": {"PriorityWeightFairshare": 2**32 - 1, "PriorityMaxAge": "10",
                   "PriorityWeightTRES": "CPU=100,Mem=50", "PriorityDecayHalfLife": "7-0"},
        "cluster": {"nodes": 10, "cpus": 640, "partitions": {
            "main": {"priority_job_factor": 1, "tres": "cpu=640,mem=4G", "max_time": "1-0"}}},
        "qos": {"high": 50},
        "max_qos_priority": 50,
        "calc_time": 700,
        "tree": [
            {"id": 1, "account": "root", "user": None, "parent": None, "raw_shares": None},
            {"id": 2, "account": "a", "user": None, "parent": "root", "raw_shares": 3,
             "own_usage": 5, "priority": 7},
            {"id": 3, "account": "a", "user": "u", "parent": "a", "raw_shares": 1, "raw_usage": 9},
        ],
        "jobs": [{"job": 7, "account": "a", "user": "u", "partition": "main", "num_cpus": 64,
                  "num_nodes": "2", "tres": "cpu=64,mem=1G", "accrue_time": 400, "qos": "high",
                  "nice": -5, "site_factor": 3, "held": False, "time_limit": "20",
                  "requested": {"min_nodes": 2}}],
    }  # fmt: skip


def places(value: Any, path: Place = ()) -> list[Place]:
    """Every place in a document: each key of each object and each entry of each list."""
    found = [path] if path else []
    inner: Iterable[int | str] = (
        value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    )
    for key in inner:
        found += places(value[key], (*path, key))
    return found


def changed(path: Place, value: Any) -> dict[str, Any]:
    data = whole()
    at: Any = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return data


def both(data: dict[str, Any]) -> None:
    """Run both calculators on a document as their commands do; InvalidInput may end them."""
    try:
        read = json.loads(json.dumps(data))
        given = data.get("config")
        raw = given | {"PriorityFlags": "NO_NORMAL_ALL"} if isinstance(given, dict) else given
        for config in (given, raw):
            read = read | {"config": config}
            accounts = document.accounts_of(read)
            method = document.method_of(document.config_of(read))
            result = fairshare.compute(accounts, method)
            rows = priority.compute(read, accounts, method)
            finite(
                [result.rows(), result.sshare(), rows, [priority.sprio_row(row) for row in rows]]
            )
    except InvalidInput:
        pass  # one line, which the tests of the commands look at


PLACES = places(whole())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PLACES), st.sampled_from(AWKWARD))
def test_any_value_in_any_place_gives_finite_numbers_or_one_error(path: Place, value: Any) -> None:
    both(changed(path, value))


@pytest.mark.slow
def test_every_awkward_value_in_every_place_gives_finite_numbers_or_one_error() -> None:
    for path in PLACES:
        for value in AWKWARD:
            both(changed(path, value))


@pytest.mark.slow
@settings(deadline=None, max_examples=10_000)
@given(st.sampled_from(PLACES), ANYTHING, st.sampled_from(PLACES), ANYTHING)
def test_any_two_values_in_any_places_give_finite_numbers_or_one_error(
    first: Place, one: Any, second: Place, other: Any
) -> None:
    data = changed(first, deepcopy(one))  # or one value would lie in itself, as no file can say
    at: Any = data
    try:
        for key in second[:-1]:
            at = at[key]
        at[second[-1]] = deepcopy(other)
    except (TypeError, LookupError):
        pass  # the first change left no such place
    both(data)


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\x1f\x8b", b"\xef\xbb\xbf{", b"[" * 50_000]))
def test_bytes_that_are_no_document_end_with_one_error(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(head + tail)
    with pytest.raises(InvalidInput) as error:
        document.accounts_of(document.read(str(path)))
    assert str(path) in str(error.value) or "tree must be a list" in str(error.value)


def test_a_document_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * (document.MAX_BYTES + 1), 1))
    with pytest.raises(InvalidInput, match="has more than 268435456 bytes"):
        document.read(str(path))


def test_a_sum_beyond_doubles_is_refused_with_its_entry(tmp_path: Path) -> None:
    data = whole()
    data["tree"][2]["raw_usage"] = 1.7e308
    with pytest.raises(InvalidInput, match="id 3: raw_usage is 1.7e\\+308, but must be a number"):
        document.accounts_of(data)
    assert math.isinf(1.7e308 + 1.7e308)  # what two such users would have made of their account


def test_a_part_of_the_shares_beyond_doubles_is_told_with_its_entry() -> None:
    tree, parent = [{"id": 1, "account": "root", "user": None, "parent": None}], "root"
    for number in range(2, 80, 2):
        for place, shares in ((number, 1), (number + 1, 2**31 - 2)):
            tree.append({"id": place, "account": f"a{place}", "user": None, "parent": parent,
                         "raw_shares": shares, "own_usage": 1e30})  # fmt: skip
        parent = f"a{number}"
    config = {"algorithm": "classic_depth_oblivious"}
    method = document.method_of(document.config_of({"config": config}))
    with pytest.raises(InvalidInput, match="id [0-9]+: with .* of all shares, its effective_usage"):
        fairshare.compute(document.accounts_of({"tree": tree}), method)

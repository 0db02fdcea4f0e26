"""Which projects a rule manages: the exceptions, what changes, and when nobody is let go."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.membership import (
    MANAGE_PATTERN,
    Effect,
    Leaving,
    Manage,
    Rule,
    Scope,
    brake_on,
    effect_of,
)
from synergy.ports import ProjectView


def view(name: str = "physics", domain: str = "Research", **more: Any) -> ProjectView:
    values: dict[str, Any] = {"project_id": f"id-{name}", "name": name, "domain_id": f"d-{domain}",
              "domain_name": domain}  # fmt: skip
    return ProjectView(**(values | more))


ALL = Rule(manage=Manage(Scope.ALL), exclude_tag="out", include_tag="in")
RESEARCH = replace(ALL, manage=Manage(Scope.DOMAINS, ("Research",)))


@pytest.mark.parametrize("text", ["listed", "all", "domains:Default", "domains:a b,d-2"])
def test_a_rule_is_read_and_written_alike(text: str) -> None:
    assert str(Manage.read(text)) == text


@pytest.mark.parametrize("text", ["", "ALL", "domains:", "domains:a,,b", "domain:a", "all,listed"])
def test_what_is_no_rule_is_refused_with_the_value(text: str) -> None:
    with pytest.raises(ValueError, match="is no rule: give listed, all, or domains:"):
        Manage.read(text)


def test_spaces_and_repetitions_in_a_rule_mean_nothing() -> None:
    assert Manage.read("domains: a , b,a") == Manage(Scope.DOMAINS, ("a", "b"))


@pytest.mark.parametrize(
    ("rule", "project", "clause", "why"),
    [
        pytest.param(Rule(), view(), "", "", id="listed takes nobody in"),
        pytest.param(ALL, view(), "all", "", id="all"),
        pytest.param(RESEARCH, view(), "domain Research", "", id="domain by name"),
        pytest.param(replace(ALL, manage=Manage(Scope.DOMAINS, ("d-Research",))), view(),
                     "domain Research", "", id="domain by id"),
        pytest.param(RESEARCH, view(domain="Other"), "", "", id="another domain"),
        pytest.param(RESEARCH, view(domain="Other", tags=frozenset({"in"})), "tag in", "",
                     id="included by its tag"),
        pytest.param(Rule(), view(tags=frozenset({"in"})), "", "", id="no tag takes in by itself"),
        pytest.param(ALL, view(tags=frozenset({"out"})), "", "it has the tag out",
                     id="excluded by its tag"),
        pytest.param(RESEARCH, view(domain="Other", tags=frozenset({"in", "out"})), "",
                     "it has the tag out", id="exclusion goes before inclusion"),
        pytest.param(replace(ALL, exclude=frozenset({"physics"})), view(), "",
                     "[project] exclude names it", id="excluded by name"),
        pytest.param(replace(ALL, exclude=frozenset({"id-physics"})), view(), "",
                     "[project] exclude names it", id="excluded by id"),
        pytest.param(ALL, view("service"), "",
                     "its name is that of the project of OpenStack's services", id="service"),
        pytest.param(ALL, view("Services", tags=frozenset({"in"})), "",
                     "its name is that of the project of OpenStack's services", id="services"),
        pytest.param(replace(ALL, own=frozenset({"id-physics"})), view(), "",
                     "Synergy itself acts in it", id="its own"),
        pytest.param(ALL, view(enabled=False), "", "it is disabled in Keystone", id="disabled"),
        pytest.param(replace(ALL, exclude_tag="", include_tag=""), view(tags=frozenset({"out"})),
                     "all", "", id="no tag is looked for"),
    ],
)  # fmt: skip
def test_who_is_managed_by_rule_and_who_is_excepted(
    rule: Rule, project: ProjectView, clause: str, why: str
) -> None:
    found = effect_of(rule, [project], {})
    assert found.coming == ({project.project_id: clause} if clause else {})
    assert found.excepted == ({project.project_id: why} if why else {})


def test_whoever_was_added_by_hand_stays_whatever_the_rule_says() -> None:
    gone, hand, ruled = view("gone"), view("hand", domain="Other"), view("ruled", domain="Other")
    managed = {gone.project_id: "", hand.project_id: "", ruled.project_id: "all"}
    effect = effect_of(RESEARCH, [hand, ruled], managed)
    assert effect.leaving == (Leaving("id-ruled", "[project] manage is domains:Research"),)
    assert not effect.coming


def test_who_stays_for_another_reason_is_told() -> None:
    effect = effect_of(RESEARCH, [view()], {"id-physics": "all"})
    assert effect.clauses == {"id-physics": "domain Research"}
    assert effect.leaving == ()
    assert effect_of(RESEARCH, [view()], {"id-physics": "domain Research"}).clauses == {}


@pytest.mark.parametrize("listed", [True, False])
def test_whoever_is_disabled_or_missing_leaves_and_cannot_act(listed: bool) -> None:
    shown = [view(enabled=False)] if listed else []
    (one,) = effect_of(ALL, shown, {"id-physics": "all"}).leaving
    assert (one.listed, one.able) == (listed, False)


def leaving(count: int, **more: Any) -> Effect:
    gone = tuple(Leaving(str(number), "why", **more) for number in range(count))
    return Effect(coming={}, leaving=gone, clauses={}, excepted={})


def test_more_than_a_few_at_once_wait_for_a_person() -> None:
    assert brake_on(leaving(10), by_rule=100, maximum=10) == ""
    assert "11 of 100 projects would leave at once" in brake_on(
        leaving(11), by_rule=100, maximum=10
    )


def test_nobody_leaves_by_a_rule_that_names_an_unknown_domain() -> None:
    typo = replace(RESEARCH, manage=Manage(Scope.DOMAINS, ("Reserach",)))
    effect = effect_of(typo, [view()], {"id-physics": "domain Research"})
    assert effect.unknown == ("Reserach",)
    assert "no project in domain Reserach" in brake_on(effect, by_rule=1, maximum=10)
    gone = effect_of(typo, [view("other")], {"id-physics": "domain Research"})
    assert (
        brake_on(gone, by_rule=1, maximum=10) == ""
    )  # it was deleted: that is no matter of the rule


names = st.sampled_from(["a", "b", "c", "d", "service"])
views = st.builds(
    view, names, st.sampled_from(["X", "Y"]), enabled=st.booleans(),
    tags=st.frozensets(st.sampled_from(["in", "out"])),
)  # fmt: skip
rules = st.builds(
    Rule,
    manage=st.sampled_from([Manage(), Manage(Scope.ALL), Manage(Scope.DOMAINS, ("X",))]),
    exclude=st.frozensets(names),
    exclude_tag=st.sampled_from(["", "out"]),
    include_tag=st.sampled_from(["", "in"]),
)
clauses = st.sampled_from(["", "all", "domain X"])


@given(st.lists(views, unique_by=lambda one: one.project_id), rules,
       st.dictionaries(st.builds("id-{}".format, names), clauses))  # fmt: skip
def test_applying_a_rule_leaves_nothing_to_do_and_no_hand_added_project_out(
    projects: list[ProjectView], rule: Rule, managed: dict[str, str]
) -> None:
    effect = effect_of(rule, projects, managed)
    after = {key: clause for key, clause in managed.items() if key not in
             {one.project_id for one in effect.leaving}}  # fmt: skip
    after |= {**effect.coming, **effect.clauses}
    again = effect_of(rule, reversed(projects), after)
    assert (again.coming, again.leaving, again.clauses) == ({}, (), {})
    assert {key for key, clause in managed.items() if not clause} <= after.keys()
    assert not any(key == "id-service" and clause for key, clause in after.items())


@given(
    st.text("ab,: \t\n\x85\u3000", max_size=12)
    | st.sampled_from(("listed", "all"))
    | st.text("ab, \t\n\x85\u3000", max_size=12).map("domains:".__add__)
    | st.sampled_from(("listed\n", "domains:a\n", "domains:a,\n"))
)
def test_the_published_pattern_allows_exactly_what_is_read(text: str) -> None:
    try:
        Manage.read(text)
    except ValueError:
        assert not re.search(MANAGE_PATTERN, text)
    else:
        assert re.search(MANAGE_PATTERN, text)

from typing import Any

import pytest

from synergy.core.declared.settings import PROJECT_SETTINGS
from synergy.managers.support.option_types import (
    Given,
    ManageText,
    Numbers,
    ResourceNumbers,
    SettingText,
    TimeZone,
    template_options,
)


def test_numbers_are_read_by_name() -> None:
    assert Numbers()("normal:0, urgent:1e2") == {"normal": 0.0, "urgent": 100.0}
    assert ResourceNumbers()({"VCPU": 1.5}) == {"VCPU": 1.5}
    assert TimeZone()("Europe/Rome") == "Europe/Rome"


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (Numbers, "normal:-1", "normal is '-1', but must be a number from 0 to 1e[+]12"),
        (Numbers, "normal:nan", "normal is 'nan'"),
        (Numbers, "normal:much", "normal is 'much'"),
        (Numbers, "normal", "NAME:VALUE pairs"),
        (ResourceNumbers, "cpu:1", "'cpu' is not a resource class such as VCPU"),
        (ResourceNumbers, "VCPU:inf", "VCPU is 'inf'"),
        (TimeZone, "Mars/Base", "'Mars/Base' is not a time zone of this machine"),
        (TimeZone, "../../etc/passwd", "is not a time zone"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(
    kind: type[Any], text: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        kind()(text)


SETTINGS = {one.name: one for one in PROJECT_SETTINGS}


@pytest.mark.parametrize(
    ("name", "text", "given"),
    [
        ("ttl_s", "3600", 3600),
        ("raw_shares", "parent", "parent"),
        ("raw_shares", "7", 7),
        ("suspended", "True", True),
        ("expiry_action", "shelve", "shelve"),
        ("max_private_servers", "none", None),
        ("lend_limit", "none", None),
        ("private", "VCPU:4, MEMORY_MB:8192", {"VCPU": 4, "MEMORY_MB": 8192}),
        ("borrow_limit", "VCPU:none", {"VCPU": None}),
    ],
)
def test_a_setting_is_read_from_text(
    name: str, text: str, given: dict[str, int | None] | int | str | None
) -> None:
    read = SettingText(SETTINGS[name])(text)
    assert read == Given(given)
    assert SettingText(SETTINGS[name])(read) == read


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("ttl_s", "0", "'0' cannot be used: it is 0, but must be at least 1"),
        ("ttl_s", "-5", "must be a whole number"),
        ("ttl_s", "none", "must be a whole number"),
        ("raw_shares", "some", "must be a whole number or parent"),
        ("suspended", "maybe", "must be true or false"),
        ("expiry_action", "explode", "must be one of delete"),
        ("private", "cpu:4", "is not the name of a resource class"),
        ("private", "VCPU", "VCPU is"),
        ("private", "VCPU:-1", "VCPU is"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SettingText(SETTINGS[name])(text)


def test_every_setting_of_a_project_is_in_the_template() -> None:
    names = [option.name for option in template_options(PROJECT_SETTINGS)]
    assert names == [f"template_{one.name}" for one in PROJECT_SETTINGS]
    assert all(
        option.default is None and option.mutable for option in template_options(PROJECT_SETTINGS)
    )


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    assert ManageText()("domains: A ,B") == "domains:A,B"
    with pytest.raises(ValueError, match="'any' is no rule"):
        ManageText()("any")

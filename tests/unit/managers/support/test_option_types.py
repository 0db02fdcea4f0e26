import pytest

from synergy.managers.support.option_types import Numbers, ResourceNumbers, TimeZone


def test_numbers_are_read_by_name():
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
def test_a_value_that_makes_no_sense_is_refused_by_name(kind, text, told):
    with pytest.raises(ValueError, match=told):
        kind()(text)

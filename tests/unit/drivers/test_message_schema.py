"""Whatever a field of a message holds, it is read as what it must be, or told what is wrong."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest

from synergy.core.errors import InvalidInput
from synergy.drivers import envelope, nova_message
from synergy.drivers.openstack import notifications
from synergy.ports import BuildRequest
from tests import messages
from tests.builders import rid
from tests.messages import ODD_VALUES, enveloped, paths, replaced, without

BUILD, RESIZE = messages.build_message(), messages.change_message()
UNSHELVE = messages.change_message("unshelve_instance")
TOLD = messages.notification_message("instance.create.error", fault=messages.primitive({"a": 1}))
LEGACY = messages.legacy_message()


def fits(text: str, longest: int) -> bool:
    """Return whether a column of that length can keep the text, in any database."""
    return len(text) <= longest and "\0" not in text and text.encode() is not None


def stored_well(build: BuildRequest) -> bool:
    """Return whether every database can keep what was read, in its columns."""
    UUID(build.server_id)
    for text, longest in (
        (build.server_id, 36), (build.project_id, 64), (build.user_id, 64),
        (build.user_name, 255), (build.server_name, 255), (build.flavor, 255),
        (build.batch_id or "", 64), *((value, 255) for _, value in build.constraints),
    ):  # fmt: skip
        assert isinstance(text, str)
        assert fits(text, longest)
    assert all(type(amount) is int and 0 <= amount < 2**53 for _, amount in build.demand.amounts)
    return True


def test_a_build_request_with_any_odd_value_is_read_well_or_says_what_is_wrong() -> None:
    refused = 0
    for path in paths(BUILD):
        for message in (*(replaced(BUILD, path, odd) for odd in ODD_VALUES), without(BUILD, path)):
            found = nova_message.read("m", enveloped(message))
            refused += bool(found.unreadable)
            assert bool(found.requests) != bool(found.unreadable), path
            assert len(found.unreadable) <= 300, path
            assert found.unreadable.isprintable(), path
            assert all(map(stored_well, found.requests)), path
            if found.requests:
                nova_message.refused(found.requests[0].body, "why")
                nova_message.credentials_of(found.requests[0].body)
                nova_message.order_of(found.requests[0].body)
    assert refused > 300


def test_a_change_with_any_odd_value_is_read_well_or_says_what_is_wrong() -> None:
    for message in (RESIZE, UNSHELVE):
        for path in paths(message):
            for odd in ODD_VALUES:
                opened = envelope.open_body(enveloped(replaced(message, path, odd)))
                header = envelope.read_header(opened)
                nova_message.changed_project(opened)
                try:
                    change = nova_message.read_change(opened, header.unique_id)
                except InvalidInput:
                    continue
                assert UUID(change.server_id)
                assert 1 <= len(change.message_id) <= 64
                nova_message.refused_change(change.body, "why")


@pytest.mark.parametrize("message", [TOLD, LEGACY, messages.notification_message()])
def test_a_notification_with_any_odd_value_is_read_well_or_says_what_is_wrong(
    message: Mapping[str, Any],
) -> None:
    for path in paths(message):
        for spoilt in (
            *(replaced(message, path, odd) for odd in ODD_VALUES),
            without(message, path),
        ):
            try:
                notice = notifications.read(enveloped(spoilt))
            except InvalidInput:
                continue
            if notice is not None:
                assert UUID(notice.server_id)
                assert 2000 <= notice.at.year < 2200
                assert fits(notice.host or "", 255)
                assert fits(notice.detail, 255)


@pytest.mark.parametrize(
    "spell", [str.upper, lambda one: one.replace("-", ""), "{{{}}}".format, "urn:uuid:{}".format]
)
def test_a_uuid_is_the_same_in_any_spelling(spell: Callable[[str], str]) -> None:
    server = str(UUID(int=0xABCDEF))
    (build,) = nova_message.read("m", enveloped(messages.build_message([spell(server)]))).requests
    opened = envelope.open_body(enveloped(messages.change_message(server_id=spell(server))))
    told = notifications.read(enveloped(messages.notification_message(server_id=spell(server))))
    legacy = notifications.read(enveloped(messages.legacy_message(server_id=spell(server))))
    change = nova_message.read_change(opened, "c")
    assert told
    assert legacy
    assert {build.server_id, change.server_id, told.server_id, legacy.server_id} == {server}
    assert nova_message.order_of(build.body).server_ids == (server,)


@pytest.mark.parametrize("field", ["_unique_id", "_msg_id", "_reply_q", "_context_project_id"])
@pytest.mark.parametrize("odd", ODD_VALUES)
def test_an_odd_outside_of_a_message_is_absent(field: str, odd: object) -> None:
    found = envelope.read_header(envelope.open_body(enveloped({"method": "m", field: odd})))
    values = [found.unique_id, found.msg_id, found.reply_queue, found.project_id]
    assert all(value is None or isinstance(value, str) for value in values)
    assert envelope.read_reply_header(enveloped({field: odd})).ending


def test_a_message_without_a_usable_id_is_known_by_its_body() -> None:
    ids = set()
    for odd in ([1], {"a": 1}, "x" * 65, None):
        opened = envelope.open_body(enveloped(BUILD | {"_unique_id": odd}))
        unique_id = envelope.read_header(opened).unique_id
        assert unique_id is None
        ids.add(nova_message.message_id_of(opened, unique_id))
    assert len(ids) == 4
    assert all(len(one) <= 64 for one in ids)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m["args"]["build_requests"].pop(), "2 request_specs but 1 build_requests"),
        (lambda m: m["args"].update(request_specs={}), "request_specs is an object, but must be a"),
        (lambda m: m["args"].update(request_specs=[], build_requests=[]), "requests no server"),
        (lambda m: m.update(args=[]), "args is a list, but must be an object"),
    ],
)
def test_counts_have_to_agree(change: Callable[..., Any], told: str) -> None:
    message = messages.build_message([rid(1), rid(2)])
    change(message)
    assert told in nova_message.read("m", enveloped(message)).unreadable


def test_a_server_asked_for_twice_in_a_message_is_refused() -> None:
    found = nova_message.read("m", enveloped(messages.build_message([rid(10), rid(10).upper()])))
    assert "the same server twice" in found.unreadable


def test_a_display_name_is_cut_and_an_id_never() -> None:
    path = ("args", "build_requests", 0, "nova_object.data", "instance", "nova_object.data")
    (build,) = nova_message.read(
        "m", enveloped(replaced(BUILD, (*path, "display_name"), "n" * 100_000))
    ).requests
    assert build.server_name == "n" * 255
    spec = ("args", "request_specs", 0, "nova_object.data", "project_id")
    found = nova_message.read("m", enveloped(replaced(BUILD, spec, "p" * 65)))
    assert "project_id is" in found.unreadable


def test_a_message_nested_too_deep_to_be_written_again_is_refused() -> None:
    deep = "[" * 1000 + "]" * 1000
    body = b'{"oslo.message": "{\\"method\\": \\"m\\", \\"args\\": %s}"}' % deep.encode()
    opened = envelope.open_body(body)
    with pytest.raises(InvalidInput, match="nested too deep"):
        opened.with_changes(_reply_q="r")

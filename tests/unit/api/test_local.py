"""Who is this machine itself, and who only looks like it."""

from collections.abc import Callable

import pytest

from synergy.api.local import is_loopback, only_local, why_foreign

OWN = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:8051", "wsgi.url_scheme": "http"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1"])
def test_a_loopback_address_is_one(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "127.evil.example", "localhost.evil", "localhost.", "0x7f.1", "0x7f000001", "2130706433",
        "127.1", "127.0.0.1.evil.example", "127.0.0.1.", "0177.0.0.1", "127.0.0.01", "0.0.0.0",
        "::", "::ffff:10.0.0.1", "fe80::1", "10.0.0.1", "", " 127.0.0.1", "127.0.0.1\n",
        "127.0.0.256", "١٢٧.0.0.1", "[::1]", "1", "0",
    ],
)  # fmt: skip
def test_what_only_looks_like_one_is_not(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"HTTP_HOST": "localhost"},
        {"HTTP_HOST": "[::1]:8051", "REMOTE_ADDR": "::1"},
        {"HTTP_ORIGIN": "http://127.0.0.1:8051", "HTTP_SEC_FETCH_SITE": "same-origin"},
        {"HTTP_SEC_FETCH_SITE": "none"},
    ],
)
def test_this_machine_is_answered(changes: dict[str, str]) -> None:
    assert why_foreign(OWN | changes) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"REMOTE_ADDR": "10.0.0.5"}, "the request comes from '10.0.0.5'"),
        ({"REMOTE_ADDR": ""}, "the request comes from ''"),
        ({"REMOTE_ADDR": "127.evil.example"}, "comes from"),
        ({"HTTP_HOST": "evil.example"}, "Host is 'evil.example'"),
        ({"HTTP_HOST": "127.0.0.1.evil.example:8051"}, "Host is"),
        ({"HTTP_HOST": "localhost@evil.example"}, "Host is"),
        ({"HTTP_HOST": "evil.example#localhost"}, "Host is"),
        ({"HTTP_HOST": "localhost,evil.example"}, "Host is"),
        ({"HTTP_HOST": ""}, "Host is ''"),
        ({"HTTP_HOST": "0x7f.1"}, "Host is"),
        ({"HTTP_ORIGIN": "http://evil.example"}, "Origin is 'http://evil.example'"),
        ({"HTTP_ORIGIN": "null"}, "Origin is 'null'"),
        ({"HTTP_ORIGIN": ""}, "Origin is ''"),
        ({"HTTP_ORIGIN": "http://127.0.0.1:3000"}, "Origin is"),  # another program of this machine
        ({"HTTP_ORIGIN": "https://127.0.0.1:8051"}, "Origin is"),
        ({"HTTP_SEC_FETCH_SITE": "cross-site"}, "a page of another site asks"),
        ({"HTTP_SEC_FETCH_SITE": "same-site"}, "a page of another site asks"),
        (
            {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
            "X-Forwarded-For shows that it came through a proxy",
        ),
        ({"HTTP_FORWARDED": "for=127.0.0.1"}, "Forwarded shows that it came through a proxy"),
        ({"HTTP_X_REAL_IP": "127.0.0.1"}, "proxy"),
        ({"HTTP_VIA": "1.1 proxy"}, "proxy"),
        ({"HTTP_X_FORWARDED_HOST": "localhost"}, "proxy"),
    ],
)
def test_whoever_may_not_be_this_machine_is_turned_away(changes: dict[str, str], told: str) -> None:
    environ = OWN | changes
    assert told in why_foreign(environ)
    answers: list[tuple[object, ...]] = []

    def start_response(*answer: object) -> Callable[[bytes], object]:
        answers.append(answer)
        return lambda _: None

    app = only_local(lambda *_: pytest.fail("it was let in"))
    body = b"".join(app(environ, start_response))
    assert answers[0][0] == "403 Forbidden"
    assert b"policy_denied" in body

"""Without Keystone anyone who reaches the API is an administrator: only this machine's own may.

Why: a loopback address keeps other machines out, but not what runs here for others: a proxy passes
strangers on, and a browser lets any page send requests, under a name that the page's owner points
to 127.0.0.1 (DNS rebinding). What comes that way says so in its headers. Must not know routes.
"""

import ipaddress
import json
import re
from collections.abc import Iterable
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment

from synergy.api.errors import Wsgi, body_of
from synergy.core.errors import PolicyDenied

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::\d{1,5})?", re.IGNORECASE)
_PASSED_ON: Final = (
    "FORWARDED", "VIA", "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_REAL_IP"
)  # fmt: skip


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine for sure: an address written as usual, or localhost.

    Names that only begin like an address, and numbers that only some resolvers take for one, are
    not.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def only_local(app: Wsgi) -> Wsgi:
    """Wrap an application that trusts everybody."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        why = why_foreign(environ)
        if not why:
            return app(environ, start_response)
        detail = f"{why}: with [api] auth_strategy=none only this machine itself is answered"
        body = json.dumps(body_of(403, PolicyDenied.code, detail)).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("403 Forbidden", headers)
        return [body]

    return guarded


def why_foreign(environ: WSGIEnvironment) -> str:
    """Return why a request may not be this machine's own, "" if nothing says so."""
    address, host = environ.get("REMOTE_ADDR", ""), environ.get("HTTP_HOST", "")
    if not is_loopback(address):
        return f"the request comes from {address[:60]!r}"
    passed_on = next((name for name in _PASSED_ON if f"HTTP_{name}" in environ), None)
    if passed_on is not None:
        return (
            f"the header {passed_on.replace('_', '-').title()} shows that it came through a proxy"
        )
    matched = _HOST.fullmatch(host)
    if matched is None or not is_loopback(matched[1] or matched[2]):
        return f"the header Host is {host[:60]!r}"
    origin = environ.get("HTTP_ORIGIN")
    own = f"{environ.get('wsgi.url_scheme', 'http')}://{host}"
    if origin is not None and origin.lower() != own.lower():
        return f"the header Origin is {origin[:60]!r}"
    if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
        return "a page of another site asks"
    return ""

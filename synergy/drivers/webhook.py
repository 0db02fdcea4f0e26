"""Posts some of the notifications to a web address, beside the message bus.

Why: not everybody who wants to be told reads a message bus. Anyone who listens there may hang, or
be anybody, so nothing waits for it: a thread of its own takes from a bounded queue, each attempt
has a time limit, and what cannot be delivered is dropped and counted. Must not know what is sent.
"""

import hashlib
import hmac
import json
import logging
import queue
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from oslo_config import cfg

from synergy.core.errors import error_line
from synergy.ports import NotificationSink

LOG = logging.getLogger(__name__)
GROUP: Final = "webhook"
TRIES: Final = 3
FIRST_REST_S: Final = 1.0
STOP_PATIENCE_S: Final = 2.0
SIGNATURE: Final = "X-Synergy-Signature"
OPTIONS: Final = (
    cfg.StrOpt(
        "url",
        secret=True,  # addresses of chats hold a key
        help="URL to which notifications are posted as JSON. It must be https, whose certificate "
        "is verified, or http on a loopback address. Default: no webhook.",
    ),
    cfg.ListOpt(
        "events",
        default=["synergy.request.expiring"],
        help="Event types that are posted; * stands for any part of a name.",
    ),
    cfg.StrOpt(
        "ca_file",
        help="PEM file with the CA certificates that verify the server. Default: those that "
        "Python's requests trusts.",
    ),
    cfg.StrOpt(
        "secret",
        secret=True,
        help="Key with which each body is signed: X-Synergy-Signature is sha256= and the "
        "hexadecimal HMAC-SHA256 of the body. Default: not signed.",
    ),
    cfg.FloatOpt(
        "timeout_s",
        default=5.0,
        min=0.1,
        max=300,
        help="Seconds after which an attempt without an answer is given up.",
    ),
    cfg.IntOpt(
        "queue_size",
        default=1000,
        min=1,
        max=1_000_000,
        help="Maximum number of notifications that wait to be posted; further ones are dropped.",
    ),
)


def problems_of(conf: cfg.ConfigOpts.GroupAttr) -> list[str]:
    """Return what is wrong with the address."""
    if not conf.url:
        return []
    try:
        parts = urlsplit(conf.url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        return [f"[{GROUP}] url must look like https://host/path"]
    if parts.scheme == "http" and not _is_loopback(host):
        wrong = (
            f"[{GROUP}] url is http on host {host}, but must be https, or http on a loopback "
            "address: anyone who intercepts it would learn what projects do"
        )
        return [wrong]
    return []


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class WithWebhook:
    """Implements the port NotificationSink: passes everything on, and posts some of it too."""

    def __init__(
        self,
        inner: NotificationSink,
        conf: cfg.ConfigOpts.GroupAttr,
        *,
        rest_s: float = FIRST_REST_S,
    ) -> None:
        """rest_s  seconds between the first two attempts for a notification; then twice as long"""
        self._inner, self._conf, self._rest_s = inner, conf, rest_s
        self._waiting: queue.Queue[Mapping[str, object]] = queue.Queue(conf.queue_size)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._last_error = ""

    @property
    def active(self) -> bool:
        """Whether a driver or a webhook is configured."""
        return bool(self._conf.url) or self._inner.active

    @property
    def dropped(self) -> int:
        """How many notifications were never posted, since the start."""
        return self._dropped

    def send(self, name: str, priority: str, payload: Mapping[str, object]) -> None:
        """Send one. Raises UpstreamUnavailable when the message bus did not take it."""
        self._inner.send(name, priority, payload)
        if not self._conf.url or not any(fnmatchcase(name, one) for one in self._conf.events):
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="webhook", daemon=True)
            self._thread.start()
        sent_at = datetime.now(UTC).isoformat()
        body = {"event_type": name, "priority": priority, "sent_at": sent_at, "payload": payload}
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            self._drop(f"more than [{GROUP}] queue_size={self._conf.queue_size} wait")

    def close(self) -> None:
        """Stop posting, and close the connections."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_PATIENCE_S)
        self._inner.close()

    def _loop(self) -> None:
        with requests.Session() as session:
            while not self._stopping.is_set():
                try:
                    body = self._waiting.get(timeout=0.5)
                except queue.Empty:
                    continue
                try:
                    self._deliver(session, json.dumps(body).encode())
                except Exception as error:  # of this notification alone
                    LOG.exception("a notification cannot be posted")
                    self._drop(error_line(error))

    def _deliver(self, session: requests.Session, body: bytes) -> None:
        why, rest_s = "", self._rest_s
        for tries in range(TRIES):
            if tries and self._stopping.wait(rest_s):
                break
            rest_s *= 2
            why = self._post(session, body)
            if not why:
                if self._last_error:
                    LOG.info("the webhook takes notifications again")
                self._last_error = ""
                return
        self._drop(why)

    def _post(self, session: requests.Session, body: bytes) -> str:
        """Post a body, and return "", or why it was not taken, without the secret address."""
        headers = {"Content-Type": "application/json"}
        if self._conf.secret:
            signed = hmac.new(self._conf.secret.encode(), body, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"sha256={signed}"
        verify: Any = self._conf.ca_file or True
        try:
            with session.post(
                self._conf.url,
                data=body,
                headers=headers,
                timeout=self._conf.timeout_s,
                verify=verify,
                allow_redirects=False,  # who answers must not choose whom we ask
                stream=True,  # what it says is not read: it may never end
            ) as answer:
                status = answer.status_code
        except (requests.RequestException, OSError) as error:
            return type(error).__name__
        return "" if 200 <= status < 300 else f"it answers {status}"

    def _drop(self, error: str) -> None:
        self._dropped += 1
        if error != self._last_error:
            LOG.error("notifications are not posted to the webhook, and dropped: %s", error)
        self._last_error = error

"""Sends notifications by oslo.messaging, as `[oslo_messaging_notifications]` says.

Why: the drivers of oslo.messaging log that a message could not be sent and go on, but Synergy has
to know it, since it sends again what was not taken. So the transport is watched. Must not know what
is sent.
"""

import logging
import socket
import warnings
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from oslo_config import cfg

with warnings.catch_warnings():
    # Below oslo.messaging, oslo.service and futurist import eventlet wherever it is installed, and
    # warn of it. Synergy has native threads, and says so before oslo.service chooses.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    from oslo_service import backend

    if backend.get_backend_type() is None:  # else a tool imported oslo.messaging before
        backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging
    from oslo_messaging import opts
    from oslo_messaging.transport import NotificationTransport

from synergy.core.errors import ConfigurationInvalid, UpstreamUnavailable, error_line

GROUP: Final = "oslo_messaging_notifications"
EXCHANGE: Final = "synergy"
TOPIC: Final = "synergy_notifications"
_OPTIONS: Final = dict(opts.list_opts())
# What the driver logs of each failed attempt, with a traceback; the manager logs it once.
_NOISY: Final = "oslo_messaging.notify.messaging"


def list_opts() -> list[tuple[str | None, list[cfg.Opt]]]:
    """Return the options of oslo.messaging by group."""
    return list(opts.list_opts())


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of oslo.messaging, with a topic and an exchange of Synergy's own."""
    conf.register_opts(_OPTIONS[None])
    conf.register_opts(_OPTIONS[GROUP], group=GROUP)
    conf.set_default("control_exchange", EXCHANGE)
    conf.set_default("topics", [TOPIC], group=GROUP)


def problems_of(conf: cfg.ConfigOpts) -> list[str]:
    """Return what is wrong with the drivers that are configured."""
    known = sorted(entry_points(group="oslo.messaging.notify.drivers").names)
    return [
        f"[{GROUP}] driver: {name!r} is not installed; there are {', '.join(known)}"
        for name in conf[GROUP].driver
        if name not in known
    ]


class _Watched(NotificationTransport):  # type: ignore[misc]
    """A transport that remembers why the last message was not sent."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner._driver)  # noqa: SLF001 - no public way to watch a transport
        self._error: Exception | None = None

    def last_error(self) -> Exception | None:
        """Return why a message was not sent since the last call, None if each was."""
        error, self._error = self._error, None
        return error

    def _send_notification(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._send_notification(*args, **kwargs)
        except Exception as error:
            self._error = error
            raise  # the driver of the notifier swallows it


class OsloSink:
    """Implements the port NotificationSink."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Connect to nothing yet. Raises ConfigurationInvalid."""
        group = conf[GROUP]
        self._active = bool(group.driver)
        try:
            inner = oslo_messaging.get_notification_transport(conf)
        except oslo_messaging.exceptions.MessagingException as error:
            raise ConfigurationInvalid([f"[{GROUP}] transport_url: {error}"]) from error
        self._transport = _Watched(inner)
        logging.getLogger(_NOISY).addFilter(_without_failures)
        # -1 would block for as long as the broker is away: the manager tries again by itself.
        self._notifier = oslo_messaging.Notifier(
            self._transport,
            publisher_id=f"synergy.{socket.gethostname()}",
            retry=max(0, group.retry),
        )

    @property
    def active(self) -> bool:
        """Whether a driver is configured."""
        return self._active

    @property
    def dropped(self) -> int:
        """None: what the broker did not take is not taken."""
        return 0

    def send(self, name: str, priority: str, payload: Mapping[str, object]) -> None:
        """Send one. Raises UpstreamUnavailable when the broker did not take it."""
        self._transport.last_error()
        getattr(self._notifier, priority.lower())({}, name, dict(payload))
        error = self._transport.last_error()
        if error is not None:
            why = f"notifications cannot be sent: {error_line(error)}"
            raise UpstreamUnavailable(why) from error

    def close(self) -> None:
        """Close the connections."""
        self._transport.cleanup()


def _without_failures(record: logging.LogRecord) -> bool:
    return "Could not send notification" not in str(record.msg)

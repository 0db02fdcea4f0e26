"""Sessions with the cloud's APIs: Synergy's credentials, and the translation of foreign errors.

Must not know what is requested. Every foreign error that a driver of this folder can meet is
translated here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Final

import openstack
from keystoneauth1 import exceptions as auth_errors
from keystoneauth1 import loading
from novaclient import exceptions as nova_errors
from openstack import exceptions as api_errors
from openstack.config import cloud_region
from oslo_config import cfg

from synergy.core.errors import (
    ConfigurationInvalid,
    Conflict,
    InvalidInput,
    NotFound,
    UpstreamUnavailable,
)

LOG = logging.getLogger(__name__)
GROUP: Final = "openstack"
PLACEMENT_MICROVERSION: Final = "1.28"
RESPONSE_TIMEOUT_S: Final = 60
RETRY_OPTIONS: Final = (
    "connect_retries", "connect_retry_delay", "status_code_retries", "status_code_retry_delay",
)  # fmt: skip
_SCOPE: Final = (
    "system_scope", "domain_id", "domain_name", "project_id", "project_name", "project_domain_id",
    "project_domain_name", "default_domain_id", "default_domain_name",
)  # fmt: skip
_NOT_FOUND: Final = (api_errors.NotFoundException, auth_errors.NotFound, nova_errors.NotFound)
_CONFLICT: Final = (api_errors.ConflictException, auth_errors.Conflict, nova_errors.Conflict)
_BAD_REQUEST: Final = (
    api_errors.BadRequestException, auth_errors.BadRequest, nova_errors.BadRequest,
)  # fmt: skip
_OTHER_STATUS: Final = (
    api_errors.HttpException, auth_errors.HttpError, nova_errors.ClientException,
)  # fmt: skip
_REFUSED: Final = {
    401: "does not accept Synergy's credentials: check [openstack] username, password and project",
    403: "forbids the request: give Synergy's user the roles admin and service",
    429: "limits the rate of requests",
}


def auth_options() -> list[cfg.Opt]:
    """Return the options for Synergy's credentials and for its connections to the APIs."""
    found: dict[str, cfg.Opt] = {}
    for options in (
        loading.get_auth_common_conf_options(),
        loading.get_session_conf_options(),
        loading.get_auth_plugin_conf_options("password"),
        [one for one in loading.get_adapter_conf_options() if one.dest in RETRY_OPTIONS],
    ):
        found.update({option.dest: copy(option) for option in options})
    for option in found.values():
        option.required = False  # other clouds need none; `open_session` checks them
    found["timeout"].default = RESPONSE_TIMEOUT_S
    found["connect_retries"].default = 1
    return list(found.values())


def open_session(conf: cfg.ConfigOpts, **overrides: object) -> Any:
    """Return a session of Synergy's own user, without connecting yet. Raises ConfigurationInvalid.

    overrides  auth options that replace the configured ones
    """
    group = conf[GROUP]
    if not group.auth_type:
        raise ConfigurationInvalid(["[openstack] auth_type is not set; password is usual"])
    try:
        plugin: Any = loading.get_plugin_loader(group.auth_type)
        auth = plugin.load_from_options_getter(lambda option: group[option.dest], **overrides)
        return loading.load_session_from_conf_options(conf, GROUP, auth=auth)
    except (auth_errors.OptionError, auth_errors.NoMatchingPlugin, cfg.NoSuchOptError) as error:
        raise ConfigurationInvalid([f"[openstack] {error}"]) from error


def open_trusted_session(conf: cfg.ConfigOpts, trust_id: str) -> object:
    """Return a session that acts as the user of a trust."""
    return open_session(conf, **dict.fromkeys(_SCOPE), trust_id=trust_id)


def connect(session: Any, conf: Any) -> Any:
    """Return the clients of all services but Nova; each endpoint is looked up at its first use.
    conf is the option group."""
    return openstack.connection.Connection(
        config=cloud_region.from_session(
            session,
            region_name=conf.region_name,
            app_name="synergy",
            interface=conf.interface,
            placement_default_microversion=PLACEMENT_MICROVERSION,
            **{name: conf[name] for name in RETRY_OPTIONS},
        )
    )


@contextmanager
def translated_errors(service: str) -> Iterator[None]:
    """Translate an error of a request to `service` into one of Synergy's.

    NotFound, Conflict and InvalidInput (a wrong value) are definite answers. All others become
    UpstreamUnavailable: the same request may succeed later.
    """
    try:
        yield
    except _NOT_FOUND as error:
        raise NotFound(f"{service}: {_error_text(error)}") from error
    except _CONFLICT as error:
        raise Conflict(f"{service}: {_error_text(error)}") from error
    except _BAD_REQUEST as error:
        raise InvalidInput(f"{service}: {_error_text(error)}") from error
    except _OTHER_STATUS as error:
        status = _status_of(error)
        detail = _REFUSED.get(status) or f"answers {status}: {_error_text(error)}"
        raise UpstreamUnavailable(f"{service} {detail}") from error
    except api_errors.ConfigException as error:
        raise UpstreamUnavailable(f"{service} cannot be used: {_error_text(error)}") from error
    except (auth_errors.ClientException, api_errors.SDKException) as error:
        raise UpstreamUnavailable(f"{service} does not answer: {_error_text(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UpstreamUnavailable(f"{service} sent an unreadable answer: {what}") from error


def _status_of(error: Exception) -> int:
    """Return the HTTP status, which the SDK, keystoneauth and novaclient name differently."""
    for name in ("status_code", "http_status", "code"):
        if status := getattr(error, name, None):
            return int(status)
    return 0


def _error_text(error: Exception) -> str:
    """Return the message of a service's error, shortened and on one line."""
    detail = (
        _placements_detail(getattr(error, "response", None))
        or getattr(error, "details", None)
        or getattr(error, "message", None)
        or str(error)
    )
    return " ".join(str(detail).split())[:300]


def _placements_detail(response: Any) -> str:
    """Return the detail of Placement's errors, whose format the SDK does not parse."""
    try:
        return str(response.json()["errors"][0]["detail"])
    except (AttributeError, ValueError, KeyError, IndexError, TypeError):
        return ""

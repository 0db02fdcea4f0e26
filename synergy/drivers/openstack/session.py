"""The way to the APIs of the cloud: who Synergy is, and what becomes of an answer that is none.

Must not know what is asked. Every foreign error that a driver of this folder can meet is translated
here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Final

import openstack
from keystoneauth1 import exceptions as auth_errors
from keystoneauth1 import loading
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
NOVA_MICROVERSION: Final = "2.53"  # servers show their flavor, hypervisors have Placement's ids
PLACEMENT_MICROVERSION: Final = "1.28"
ANSWER_S: Final = 60  # a service that does not answer within that is away
_SCOPE: Final = (
    "system_scope", "domain_id", "domain_name", "project_id", "project_name", "project_domain_id",
    "project_domain_name", "default_domain_id", "default_domain_name",
)  # fmt: skip
_REFUSED: Final = {
    401: "does not accept Synergy's credentials: check [openstack] username, password and project",
    403: "forbids it: give Synergy's user the roles admin and service",
    429: "answers that it is asked too often",
}


def auth_options() -> list[cfg.Opt]:
    """Return the options that tell who Synergy is and how it reaches the cloud."""
    found: dict[str, cfg.Opt] = {}
    for options in (
        loading.get_auth_common_conf_options(),
        loading.get_session_conf_options(),
        loading.get_auth_plugin_conf_options("password"),
    ):
        found.update({option.dest: copy(option) for option in options})
    for option in found.values():
        option.required = False  # only for those who have this cloud; `open_session` tells
    found["timeout"].default = ANSWER_S
    return list(found.values())


def open_session(conf: cfg.ConfigOpts, **instead: object) -> Any:
    """Return a session of Synergy's own user; nothing is asked yet. Raises ConfigurationInvalid.

    instead  values of auth options other than the configured ones
    """
    group = conf[GROUP]
    if not group.auth_type:
        raise ConfigurationInvalid(["[openstack] auth_type is not set; password is usual"])
    try:
        plugin: Any = loading.get_plugin_loader(group.auth_type)
        auth = plugin.load_from_options_getter(lambda option: group[option.dest], **instead)
        return loading.load_session_from_conf_options(conf, GROUP, auth=auth)
    except (auth_errors.OptionError, auth_errors.NoMatchingPlugin, cfg.NoSuchOptError) as error:
        raise ConfigurationInvalid([f"[openstack] {error}"]) from error


def open_trusted_session(conf: cfg.ConfigOpts, trust_id: str) -> object:
    """Return a session that acts as the user of a trust."""
    return open_session(conf, **dict.fromkeys(_SCOPE), trust_id=trust_id)


def connect(session: Any, conf: Any) -> Any:
    """Return the clients of all services, which find each when it is used; conf is the option
    group."""
    return openstack.connection.Connection(
        config=cloud_region.from_session(
            session,
            region_name=conf.region_name,
            app_name="synergy",
            interface=conf.interface,
            compute_default_microversion=NOVA_MICROVERSION,
            placement_default_microversion=PLACEMENT_MICROVERSION,
            connect_retries=1,
        )
    )


@contextmanager
def asking(service: str) -> Iterator[None]:
    """Turn what goes wrong with an answer of `service` into an error of ours.

    NotFound and Conflict are answers; InvalidInput is what the service says of a wrong value. All
    others are UpstreamUnavailable: the same question may be answered later.
    """
    try:
        yield
    except (api_errors.NotFoundException, auth_errors.NotFound) as error:
        raise NotFound(f"{service}: {_text(error)}") from error
    except (api_errors.ConflictException, auth_errors.Conflict) as error:
        raise Conflict(f"{service}: {_text(error)}") from error
    except (api_errors.BadRequestException, auth_errors.BadRequest) as error:
        raise InvalidInput(f"{service}: {_text(error)}") from error
    except (api_errors.HttpException, auth_errors.HttpError) as error:
        status = getattr(error, "status_code", None) or getattr(error, "http_status", None)
        said = _REFUSED.get(int(status or 0)) or f"answers {status}: {_text(error)}"
        raise UpstreamUnavailable(f"{service} {said}") from error
    except api_errors.ConfigException as error:
        raise UpstreamUnavailable(f"{service} cannot be used: {_text(error)}") from error
    except (auth_errors.ClientException, api_errors.SDKException) as error:
        raise UpstreamUnavailable(f"{service} does not answer: {_text(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UpstreamUnavailable(f"{service} answers what cannot be read: {what}") from error


def _text(error: Exception) -> str:
    """Return what a service said, on one line and not endlessly."""
    said = (
        _placements_detail(getattr(error, "response", None))
        or getattr(error, "details", None)
        or getattr(error, "message", None)
        or str(error)
    )
    return " ".join(str(said).split())[:300]


def _placements_detail(response: Any) -> str:
    """Return what Placement says of an error, in a form that the SDK does not read."""
    try:
        return str(response.json()["errors"][0]["detail"])
    except (AttributeError, ValueError, KeyError, IndexError, TypeError):
        return ""

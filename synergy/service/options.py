"""Collects all options of the service from the modules that read them, and validates the files.

Must not open the database, the cloud or a port.
"""

import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keystoneauth1 import loading
from keystonemiddleware import opts as auth_token_options
from oslo_config import cfg
from oslo_log import _options as log_options
from oslo_log import log
from oslo_middleware import cors
from oslo_middleware import opts as middleware_options
from oslo_policy import opts as policy_options
from oslo_reports import opts as report_options
from stevedore import ExtensionManager

from synergy.api.authentication import KEYSTONE, NONE
from synergy.api.local import is_loopback
from synergy.api.policies import Enforcer, new_enforcer
from synergy.core.errors import ConfigurationInvalid
from synergy.db.engine import DATABASE_OPTIONS
from synergy.drivers import notification_sink, webhook
from synergy.managers.base import Manager, options_of

MANAGER_NAMESPACE = "synergy.managers"
CLOUD_NAMESPACE = "synergy.clouds"
MAX_SOCKET_PATH_BYTES = 107  # the limit of Linux
LIBRARY_GROUPS = (
    "keystone_authtoken",
    "oslo_policy",
    "oslo_middleware",
    "oslo_messaging_notifications",
    "oslo_messaging_rabbit",
    "oslo_messaging_kafka",
    "cors",
    "oslo_reports",
)  # read by their own libraries
FACTOR_NAMESPACE = "synergy.priority_factors"

_WRONG_VALUE = re.compile(
    r"Value for option \S+ from LocationInfo\(.*detail='(?P<file>.*)'\) is not valid: (?P<why>.*)"
)

SERVICE_OPTIONS = (
    cfg.ListOpt(
        "managers",
        default=[
            "keystone",
            "project",
            "nova",
            "queue",
            "quota",
            "fairshare",
            "scheduler",
            "expiry",
            "archive",
            "notifier",
            "forecast",
        ],
        help="Names of the managers to load, from the entry points synergy.managers.",
    ),
    cfg.StrOpt(
        "cloud",
        default="embedded",
        help="Driver of the cloud, from the entry points synergy.clouds.",
    ),
    cfg.ListOpt(
        "site_factors",
        default=[],
        help="Names of site-specific priority factors, from the entry points "
        "synergy.priority_factors; each adds points to the priority of a request.",
    ),
)
API_OPTIONS = (
    cfg.HostAddressOpt(
        "host",
        default="127.0.0.1",
        help="Address to listen on. With auth_strategy=none only a loopback address is accepted.",
    ),
    cfg.PortOpt("port", default=8051, help="TCP port to listen on; 0 chooses a free one."),
    cfg.IntOpt(
        "threads",
        default=8,
        min=1,
        max=256,
        help="Number of threads that answer requests to change something. Such a request may wait "
        "for Nova or Keystone.",
    ),
    cfg.IntOpt(
        "read_threads",
        default=3,
        min=1,
        max=256,
        help="Number of further threads that answer requests to read, such as lists. More threads "
        "do not answer more requests a second, since they share one interpreter, and the slowest "
        "of many callers waits longer.",
    ),
    cfg.IntOpt(
        "costly_threads",
        default=2,
        min=1,
        max=256,
        help="Number of further threads that answer expensive requests: usage, events, "
        "priorities, explain and simulate. Health and metrics have their own threads.",
    ),
    cfg.IntOpt(
        "connections",
        default=512,
        min=16,
        max=65_536,
        help="Maximum number of open connections, and at most half of the process's file "
        "descriptors. Beyond it, the connection that has waited for its client longest is closed.",
    ),
    cfg.IntOpt(
        "connections_per_address",
        default=256,
        min=1,
        max=65_536,
        help="Maximum number of open connections from one address; raise it for a proxy in front.",
    ),
    cfg.FloatOpt(
        "idle_s",
        default=15.0,
        min=1,
        max=3600,
        help="Seconds after which a connection is closed that has not sent a complete request "
        "header: during the TLS handshake, with slow headers, or between requests.",
    ),
    cfg.IntOpt(
        "header_bytes",
        default=32 * 1024,
        min=1024,
        max=1024**2,
        help="Maximum size of a request's line and headers, bytes. A Keystone token is a header.",
    ),
    cfg.FloatOpt(
        "body_s",
        default=15.0,
        min=1,
        max=3600,
        help="Seconds within which the body of a request must arrive.",
    ),
    cfg.FloatOpt(
        "answer_s",
        default=60.0,
        min=1,
        max=3600,
        help="Seconds within which the client must read the answer.",
    ),
    cfg.StrOpt(
        "auth_strategy",
        default=KEYSTONE,
        choices=[
            (
                KEYSTONE,
                (
                    "Each request needs a token, which is validated by Keystone as configured in "
                    "[keystone_authtoken]; policy decides what it may do."
                ),
            ),
            (
                NONE,
                (
                    "Everyone who can reach the port is an administrator; only for the embedded "
                    "cloud, on a loopback address."
                ),
            ),
        ],
        help="How clients of the API authenticate.",
    ),
    cfg.StrOpt(
        "tls_cert_file",
        help="PEM file with the certificate and its chain; setting it enables TLS.",
    ),
    cfg.StrOpt("tls_key_file", help="PEM file with the private key of tls_cert_file."),
    cfg.IntOpt(
        "longest_body_bytes",
        default=1024 * 1024,
        min=1024,
        max=1024**3,
        help="Maximum size of a request's body, in bytes; a larger one is answered with 413.",
    ),
    cfg.IntOpt(
        "costly_per_minute",
        default=120,
        min=1,
        max=1_000_000,
        help="Expensive requests (usage, events, priorities, explain, simulate) that one user may "
        "send per minute, and at once after an idle minute; more are answered with 429.",
    ),
    cfg.StrOpt(
        "socket",
        help="Path of a UNIX socket on which the service answers the WSGI application "
        "(synergy.service.wsgi) in other processes, such as uwsgi or mod_wsgi. Everyone who can "
        "open it is an administrator; it is created for its owner only. Default: no socket.",
    ),
)

HEALTHCHECK_OPTIONS = (
    cfg.StrOpt(
        "disable_by_file_path",
        help="Path of a file. While it exists, /healthcheck and /healthcheck/ready answer 503, "
        "so that a load balancer sends no more requests; the service keeps working. "
        "Default: no file.",
    ),
)


def installed(namespace: str) -> tuple[dict[str, Any], list[str]]:
    """Load the entry points of a namespace: the plugins by name, and why the others fail to."""
    problems: list[str] = []

    def failed(_: object, entry_point: Any, error: BaseException) -> None:
        problems.append(f"{namespace}: {entry_point.name} cannot be loaded: {error!r}")

    found: ExtensionManager[Any] = ExtensionManager(namespace, on_load_failure_callback=failed)
    return {extension.name: extension.plugin for extension in found}, problems


def _load(namespace: str) -> dict[str, Any]:
    """Load all entry points of a namespace. Raises ConfigurationInvalid."""
    found, problems = installed(namespace)
    if problems:
        raise ConfigurationInvalid(problems)
    return found


def _what_loads(namespace: str) -> dict[str, Any]:
    return installed(namespace)[0]


def manager_classes() -> dict[str, type[Manager]]:
    """Return every installed manager by name."""
    return _load(MANAGER_NAMESPACE)


def cloud_plugins() -> dict[str, Any]:
    """Return every installed cloud by name: a module with OPTIONS, GROUP and open_cloud."""
    return _load(CLOUD_NAMESPACE)


def site_factors() -> dict[str, Any]:
    """Return every installed priority factor by name: a class made without arguments."""
    return _load(FACTOR_NAMESPACE)


def groups(load: Callable[[str], dict[str, Any]] = _load) -> dict[str, list[cfg.Opt]]:
    """Return all of Synergy's own options by group. Raises ConfigurationInvalid."""
    found: dict[str, list[cfg.Opt]] = {
        "DEFAULT": list(SERVICE_OPTIONS),
        "database": list(DATABASE_OPTIONS),
        "api": list(API_OPTIONS),
        webhook.GROUP: list(webhook.OPTIONS),
        "healthcheck": list(HEALTHCHECK_OPTIONS),
    }
    for plugin in load(CLOUD_NAMESPACE).values():
        found[plugin.GROUP] = list(plugin.OPTIONS)
    for name, cls in load(MANAGER_NAMESPACE).items():
        found.setdefault(name, []).extend(options_of(cls))
    return found


def set_library_defaults() -> None:
    """Give options of libraries the defaults that the API needs; the sample shows them."""
    cors.set_defaults(
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["X-Auth-Token", "Content-Type", "If-Match", "X-Openstack-Request-Id"],
        expose_headers=["ETag", "X-Openstack-Request-Id", "Retry-After"],
    )


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return all options, for the sample configuration."""
    return list(groups().items())


def library_groups(auth_type: str = "password") -> dict[str, list[cfg.Opt]]:
    """Return the options that libraries read for Synergy, by group.

    auth_type  plugin of keystoneauth that [keystone_authtoken] names; its credentials differ
    """
    found: dict[str, list[cfg.Opt]] = {}
    for listed in (
        log_options.list_opts(),
        auth_token_options.list_auth_token_opts(),
        policy_options.list_opts(),
        middleware_options.list_opts_http_proxy_to_wsgi(),
        notification_sink.list_opts(),
        middleware_options.list_opts_cors(),
        report_options.list_opts(),
    ):
        for group, options in listed:
            found.setdefault(group or "DEFAULT", []).extend(options)
    known = {option.dest for option in found["keystone_authtoken"]}
    found["keystone_authtoken"] += [
        option
        for option in loading.get_auth_plugin_conf_options(auth_type)
        if option.dest not in known
    ]
    return found


def new_conf(*, tolerant: bool = False) -> cfg.ConfigOpts:
    """Return a configuration with every option registered and nothing read.

    tolerant  leave out plugins that cannot be loaded; else they raise ConfigurationInvalid
    """
    set_library_defaults()
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    notification_sink.register(conf)
    for group, options in groups(_what_loads if tolerant else _load).items():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)
    return conf


def policy_enforcer() -> Enforcer:
    """Return an enforcer of the configured policy, for the tools of oslo.policy."""
    conf = new_conf()
    conf([], project="synergy")
    return new_enforcer(conf)


def problems_of(conf: cfg.ConfigOpts) -> list[str]:
    """Return everything that is wrong with the names and values in the configuration."""
    own = groups()
    found = [*_wrong_values(conf, own), *_unknown_names(conf, own)]
    for option, installed in (("managers", manager_classes()), ("site_factors", site_factors())):
        known = ", ".join(sorted(installed)) or "none"
        found += [
            f"[DEFAULT] {option}: {name!r} is not installed; there are {known}"
            for name in _value(conf, None, option) or []
            if name not in installed
        ]
    cloud, clouds = _value(conf, None, "cloud"), cloud_plugins()
    if cloud not in clouds:
        known = ", ".join(sorted(clouds))
        found.append(f"[DEFAULT] cloud: {cloud!r} is not installed; there are {known}")
    found += notification_sink.problems_of(conf) + webhook.problems_of(conf.webhook)
    return found + _api_problems(conf)


def _api_problems(conf: cfg.ConfigOpts) -> list[str]:
    found = []
    host, strategy = _value(conf, "api", "host"), _value(conf, "api", "auth_strategy")
    if strategy == NONE and host is not None and not is_loopback(str(host)):
        found.append(
            f"[api] host is {host}, but must be a loopback address with auth_strategy=none: "
            "everyone who can reach the port is an administrator"
        )
    cloud = cloud_plugins().get(_value(conf, None, "cloud"))
    if strategy == NONE and cloud is not None and not getattr(cloud, "SIMULATED", False):
        found.append(
            f"[api] auth_strategy is none, but [DEFAULT] cloud is {conf.cloud}: with a real cloud "
            "Keystone must authenticate callers; set auth_strategy=keystone and "
            "[keystone_authtoken]"
        )
    if strategy == KEYSTONE and not _keystone_is_configured(conf):
        found.append(
            "[keystone_authtoken] auth_url and auth_type are missing: tokens cannot be validated; "
            "set them, or [api] auth_strategy=none for the embedded cloud"
        )
    files = {name: _value(conf, "api", name) for name in ("tls_cert_file", "tls_key_file")}
    if any(files.values()) and not all(files.values()):
        missing = next(name for name, path in files.items() if not path)
        found.append(f"[api] {missing} is missing: TLS needs a certificate and its key")
    unreadable = [n for n, path in files.items() if path and not os.access(path, os.R_OK)]
    found += [f"[api] {name} {files[name]} cannot be read" for name in unreadable]
    if all(files.values()) and not unreadable:
        found += _tls_problems(**files)
    return found + _socket_problems(_value(conf, "api", "socket"))


def _tls_problems(tls_cert_file: str, tls_key_file: str) -> list[str]:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            tls_cert_file, tls_key_file
        )
    except (ssl.SSLError, OSError) as error:
        files = f"tls_cert_file {tls_cert_file} and tls_key_file {tls_key_file}"
        return [f"[api] {files} cannot be used: {error.args[-1]}"]
    return []


def _socket_problems(path: str | None) -> list[str]:
    if not path:
        return []
    folder = Path(path).absolute().parent
    if not os.access(folder, os.W_OK):
        return [f"[api] socket {path}: its folder does not exist, or cannot be written to"]
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        return [f"[api] socket {path}: a path may have {MAX_SOCKET_PATH_BYTES} bytes at most"]
    return []


Sections = dict[str, dict[str, list[str]]]


def sections_of(conf: cfg.ConfigOpts) -> Iterator[tuple[str, Sections]]:
    """Yield each file of a configuration, and what it says: values by option by section."""
    folders = [Path(folder) for folder in conf.config_dir or ()]
    beside = [str(path) for folder in folders for path in sorted(folder.glob("*.conf"))]
    for path in [*(conf.config_file or ()), *beside]:
        sections: Sections = {}
        cfg.ConfigParser(path, sections).parse()
        yield path, sections


def _keystone_is_configured(conf: cfg.ConfigOpts) -> bool:
    for _, sections in sections_of(conf):
        values = sections.get("keystone_authtoken", {})
        if values.get("auth_section") or (values.get("auth_url") and values.get("auth_type")):
            return True
    return False


def _value(conf: cfg.ConfigOpts, group: str | None, name: str) -> Any:
    try:
        return conf[group][name] if group else conf[name]
    except (ValueError, cfg.ConfigFileValueError):
        return None  # _wrong_values lists it


def _wrong_values(conf: cfg.ConfigOpts, own: Mapping[str, Iterable[cfg.Opt]]) -> list[str]:
    found = []
    for group, options in own.items():
        for option in options:
            try:
                _ = conf[option.dest] if group == "DEFAULT" else conf[group][option.dest]
            except (ValueError, cfg.ConfigFileValueError) as error:
                found.append(f"[{group}] {option.name}: {_reason(error)}")
    return found


def _reason(error: Exception) -> str:
    """Return why a value is wrong and in which file, without oslo.config's LocationInfo."""
    match = _WRONG_VALUE.fullmatch(str(error))
    return f"{_readable(match['why'])} (in {match['file']})" if match else _readable(str(error))


def _readable(error: str) -> str:
    """Translate the errors of Python's number parsers."""
    error = re.sub(
        r"invalid literal for int\(\) with base 10: (.+)", r"\1 is not a whole number", error
    )
    return re.sub(r"could not convert string to float: (.+)", r"\1 is not a number", error)


def _names_of(option: cfg.Opt) -> list[str]:
    """Return the name of an option, and those that it had."""
    named = [str(option.name), *(str(former.name) for former in option.deprecated_opts)]
    return [name.replace("-", "_") for name in named]


def _unknown_names(conf: cfg.ConfigOpts, own: Mapping[str, Iterable[cfg.Opt]]) -> list[str]:
    """Return options and sections that nobody reads: they are typing errors."""
    found = []
    for path, sections in sections_of(conf):
        for group, values in sections.items():
            if group == "DEFAULT":
                continue  # shared with oslo.log
            if group in LIBRARY_GROUPS:
                continue
            if group not in own:
                found.append(f"{path}: there is no section [{group}]")
                continue
            known = {name for option in own[group] for name in _names_of(option)}
            found += [
                f"{path}: [{group}] has no option {name!r}" for name in values if name not in known
            ]
    return found

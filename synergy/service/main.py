"""The entry point of synergy-service: checks everything, then runs until it is stopped.

Why one process: the managers share the memory of a round. The only other one draws forecasts; it
ends with this one however that ends, so a signal, a kill or systemd need not reach it separately.
"""

import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from oslo_config import cfg
from sqlalchemy import Engine

from synergy.api.app import LANE_OF, served
from synergy.api.authentication import NONE
from synergy.api.errors import Wsgi
from synergy.api.policies import new_enforcer
from synergy.api.server import ApiServer
from synergy.api.services import ServiceHost
from synergy.core.errors import ConfigurationInvalid, StoreUnavailable, SynergyError
from synergy.db import engine as database
from synergy.db.key_file import read_keys
from synergy.db.leadership import Leadership
from synergy.db.reseal import opens_any
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.drivers.clock import SystemClock
from synergy.drivers.notification_sink import OsloSink
from synergy.drivers.webhook import WithWebhook
from synergy.managers.forecast.drawers import ProcessDrawer
from synergy.managers.support.watched_clock import WatchedClock, boot_id
from synergy.packages import version
from synergy.service import logs, meditation
from synergy.service.host import Host
from synergy.service.local_rpc import LocalRpcServer
from synergy.service.options import (
    cloud_plugins,
    manager_classes,
    new_conf,
    problems_of,
    site_factors,
)
from synergy.service.reload import Change, Reloader
from synergy.service.signals import Signals
from synergy.service.systemd import Systemd
from synergy.service.watchdog import Watchdog

LOG = logging.getLogger(__name__)
LONGEST_TURN_S: Final = 0.0005  # that a thread computes while another wants to


def read_configuration(conf: cfg.ConfigOpts, argv: Sequence[str]) -> None:
    """Read files and arguments. Raises ConfigurationInvalid listing everything that is wrong."""
    with reading_errors():
        conf(args=list(argv), project=logs.PROJECT, version=version())


@contextmanager
def reading_errors() -> Iterator[None]:
    """Turn what oslo.config raises while it reads into ConfigurationInvalid."""
    try:
        yield
    except cfg.Error as error:
        raise ConfigurationInvalid([str(error)]) from error
    except OSError as error:  # a folder, or a file that this user may not read
        if error.filename is None:
            raise  # an error while --help prints
        problem = f"configuration file {error.filename} cannot be read: {error.strerror}"
        raise ConfigurationInvalid([problem]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid([f"a configuration file is not text: {error}"]) from error


def check(conf: cfg.ConfigOpts) -> None:
    """Check everything the service needs. Raises ConfigurationInvalid listing all problems."""
    problems = problems_of(conf)
    for attempt in (check_keys, check_database, check_seals, _check_cloud, _check_sink):
        try:
            attempt(conf)
        except ConfigurationInvalid as error:
            problems += error.problems
        except SynergyError as error:
            problems.append(str(error))
        except (ValueError, cfg.ConfigFileValueError):
            continue  # problems_of lists it
    if problems:
        raise ConfigurationInvalid(problems)


def check_keys(conf: cfg.ConfigOpts) -> None:
    """Read the key file. Raises ConfigurationInvalid."""
    read_keys(Path(conf.database.keys_file))


def check_database(conf: cfg.ConfigOpts) -> None:
    """Check that the tables match this version. Raises ConfigurationInvalid."""
    with opened_database(conf) as engine:
        database.check(engine)


def check_seals(conf: cfg.ConfigOpts) -> None:
    """Check that the keys open the stored messages. Raises ConfigurationInvalid if they open none.

    Passes when the keys or the database cannot be used: their own checks report that.
    """
    try:
        vault = Vault(read_keys(Path(conf.database.keys_file)))
        with opened_database(conf) as engine:
            database.check(engine)
            opens = opens_any(engine, vault)
    except SynergyError:
        return
    if not opens:
        wrong = (
            f"encryption key file {conf.database.keys_file} opens none of the messages that the "
            "database keeps: restore the file that sealed them"
        )
        raise ConfigurationInvalid([wrong])


@contextmanager
def opened_database(conf: cfg.ConfigOpts, *, create: bool = False) -> Iterator[Engine]:
    """Open the database for a moment. Raises ConfigurationInvalid."""
    engine = database.open_engine(conf.database, create=create)
    try:
        yield engine
    finally:
        engine.dispose()


def _check_cloud(conf: cfg.ConfigOpts) -> None:
    plugin = cloud_plugins().get(conf.cloud)
    if plugin is not None:
        plugin.open_cloud(conf, SystemClock())


def _check_sink(conf: cfg.ConfigOpts) -> None:
    OsloSink(conf).close()


def check_address(conf: cfg.ConfigOpts.GroupAttr) -> None:
    """Check that the address of [api] is free. Raises ConfigurationInvalid if it is not."""
    family = socket.AF_INET6 if ":" in conf.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((conf.host, conf.port))
        except OSError as error:
            taken = (
                f"[api] port {conf.port} on {conf.host} cannot be used: {error.strerror}; stop "
                "what listens there, or choose another port"
            )
            raise ConfigurationInvalid([taken]) from error


def api_of(host: ServiceHost, conf: cfg.ConfigOpts) -> Wsgi:
    """Return the WSGI application of the API over the host of the managers."""
    strategy = conf.api.auth_strategy
    if strategy == NONE:
        LOG.warning(
            "[api] auth_strategy=none: everyone who can reach %s port %s is an administrator",
            conf.api.host, conf.api.port,
        )  # fmt: skip
    return served(
        host,
        new_enforcer(conf),
        conf,
        strategy=strategy,
        longest_body=conf.api.longest_body_bytes,
        costly_per_minute=conf.api.costly_per_minute,
    )


def taken_out(conf: cfg.ConfigOpts) -> list[str]:
    """Return why an operator took this host out of the load balancer, nothing where none did."""
    path = conf.healthcheck.disable_by_file_path
    return (
        [f"it was taken out of service by the file {path}"] if path and Path(path).exists() else []
    )


class Service:
    """Everything that runs in the process, opened in order and closed in reverse order."""

    def __init__(
        self, conf: cfg.ConfigOpts, leadership: Leadership, vault: Vault, systemd: Systemd
    ) -> None:
        self._conf, self._leadership, self._vault = conf, leadership, vault
        self._systemd = systemd
        self._opened = ExitStack()

    def start(self, on_deposed: Callable[[], None]) -> None:
        """Open and start everything. Raises ConfigurationInvalid, OSError."""
        conf, opened = self._conf, self._opened
        clock = WatchedClock(SystemClock(), boot_id=boot_id())
        engine = database.open_engine(conf.database)
        store = SqlStore(engine, self._vault, check=self._leadership.check)
        opened.callback(store.close)
        with store.reading() as uow:
            clock.go_on_from(uow.safety.mark())
        installed, factors = manager_classes(), site_factors()
        cloud = cloud_plugins()[conf.cloud].open_cloud(conf, clock)
        opened.callback(cloud.close)
        sink = WithWebhook(OsloSink(conf), conf.webhook)
        opened.callback(sink.close)
        self._host = host = Host(
            conf,
            {name: installed[name] for name in conf.managers},
            clock=clock,
            store=store,
            needs={
                **cloud.ports,
                "notification_sink": sink,
                "database": conf.database,
                "drawer": ProcessDrawer(),
                "scheduler_options": conf.scheduler if "scheduler" in conf.managers else None,
                "site_factors": {name: factors[name]() for name in conf.site_factors},
            },
        )
        watchdog = Watchdog(
            host, self._leadership, self._vault, on_deposed, alive=self._systemd.alive
        )
        host.watched_by(lambda: [*watchdog.problems(), *taken_out(conf)])
        meditation.set_up(conf, host.health)
        watchdog.start()
        opened.callback(watchdog.stop)
        opened.callback(host.stop)
        host.start()
        if conf.api.socket:
            local_rpc = LocalRpcServer(host, conf.api.socket)
            local_rpc.start()
            opened.callback(local_rpc.stop)
        api = ApiServer(api_of(host, conf), LANE_OF, conf.api)
        api.start()
        opened.callback(api.join)
        opened.callback(api.stop)
        # Exclude objects that live as long as the service from garbage collection: a full
        # collection would stop the relay's thread for a tenth of a second.
        gc.collect()
        gc.freeze()
        self._systemd.ready()

    def follow(self, changes: Sequence[Change]) -> None:
        """Run the managers soon if options changed that they may read while running."""
        if any(one.mutable for one in changes):
            self._host.wake_all()

    def stop(self) -> None:
        """Stop and close everything that was opened."""
        LOG.info("synergy-service is stopping")
        self._systemd.stopping()
        self._opened.close()


def run(argv: Sequence[str]) -> int:
    """Run the service, and return its exit code."""
    try:
        conf = new_conf()
        read_configuration(conf, argv)
        logs.set_up(conf)
        check(conf)
        vault = Vault.of_file(Path(conf.database.keys_file))
        leadership = take_leadership(conf, vault)
    except ConfigurationInvalid as error:
        print_problems(error)
        return 1
    try:
        check_address(conf.api)
        return _serve(conf, argv, leadership, vault)
    except ConfigurationInvalid as error:
        print_problems(error)
        return 1
    finally:
        _leave(leadership)


def take_leadership(conf: cfg.ConfigOpts, vault: Vault) -> Leadership:
    """Take the leadership of the database. Raises ConfigurationInvalid naming its holder."""
    # Its own connection pool: a heartbeat must not wait while the managers use all connections.
    engine = database.open_engine(conf.database)
    leadership = Leadership(engine, SystemClock(), role="synergy-service")
    try:
        leadership.take(vault.sealing_key)
    except SynergyError as error:
        raise ConfigurationInvalid([str(error)]) from error
    return leadership


def _serve(conf: cfg.ConfigOpts, argv: Sequence[str], leadership: Leadership, vault: Vault) -> int:
    systemd = Systemd()
    service = Service(conf, leadership, vault, systemd)
    reload = Reloader(conf, argv, read_configuration)

    def reload_all() -> None:
        systemd.reloading()
        try:
            service.follow(reload())
        finally:
            systemd.ready()

    signals = Signals(
        {
            signal.SIGTERM: lambda: signals.end(0),
            signal.SIGINT: lambda: signals.end(0),
            signal.SIGHUP: reload_all,
        }
    )
    try:
        service.start(on_deposed=lambda: signals.end(1))
        return signals.wait()
    finally:
        service.stop()


def _leave(leadership: Leadership) -> None:
    try:
        leadership.leave()
    except StoreUnavailable as error:
        LOG.warning("the leadership was not released, and will lapse: %s", error)


def print_problems(error: ConfigurationInvalid) -> None:
    """Print everything that must be fixed, one line each."""
    for problem in error.problems:
        sys.stderr.write(f"synergy: {problem}\n")


def main() -> None:
    """Run synergy-service."""
    # A thread that comes back from SQLite or the network waits for the one that computes. At
    # Python's own 5 ms, time and again for one answer, the slowest of many readers took four times
    # as long as most of them.
    sys.setswitchinterval(LONGEST_TURN_S)
    sys.exit(run(sys.argv[1:]))

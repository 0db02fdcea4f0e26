"""The entry point of synergy-service: checks everything, then runs until it is told to stop."""

import gc
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_service import backend
from sqlalchemy import make_url
from tooz import coordination

from synergy.api.app import LANE_OF, served
from synergy.api.authentication import NONE
from synergy.api.errors import Wsgi
from synergy.api.policies import new_enforcer
from synergy.api.services import Services
from synergy.core.errors import ConfigurationInvalid, SynergyError
from synergy.db import engine as database
from synergy.db.store import SqlStore
from synergy.db.vault import Vault, read_keys
from synergy.drivers.clock import SystemClock
from synergy.managers.watched_clock import WatchedClock, boot_id
from synergy.service import logs
from synergy.service.host import Host
from synergy.service.options import (
    cloud_plugins,
    manager_classes,
    new_conf,
    problems_of,
    site_factors,
)

LOG = logging.getLogger(__name__)


def read_configuration(conf: cfg.ConfigOpts, argv: Sequence[str]) -> None:
    """Read files and arguments. Raises ConfigurationInvalid listing everything that is wrong."""
    try:
        conf(args=list(argv), project=logs.PROJECT)
    except cfg.ConfigFilesNotFoundError as error:
        raise ConfigurationInvalid([str(error)]) from error
    except cfg.ConfigFileParseError as error:
        raise ConfigurationInvalid([str(error)]) from error
    except cfg.Error as error:
        raise ConfigurationInvalid([str(error)]) from error


def check(conf: cfg.ConfigOpts) -> None:
    """Try everything the service needs. Raises ConfigurationInvalid with all that is missing."""
    problems = problems_of(conf)
    for attempt in (check_keys, check_database, _check_cloud):
        try:
            attempt(conf)
        except ConfigurationInvalid as error:
            problems += error.problems
        except SynergyError as error:
            problems.append(str(error))
        except (ValueError, cfg.ConfigFileValueError):
            continue  # told by problems_of
    if problems:
        raise ConfigurationInvalid(problems)


def check_keys(conf: cfg.ConfigOpts) -> None:
    """Read the key file. Raises ConfigurationInvalid."""
    read_keys(Path(conf.database.keys_file))


def check_database(conf: cfg.ConfigOpts) -> None:
    """Compare the tables with what this Synergy needs. Raises ConfigurationInvalid."""
    engine = database.open_engine(conf.database)
    try:
        database.check(engine)
    finally:
        engine.dispose()


def _check_cloud(conf: cfg.ConfigOpts) -> None:
    plugin = cloud_plugins().get(conf.cloud)
    if plugin is not None:
        plugin.open_cloud(conf, SystemClock())


def take_lock(conf: cfg.ConfigOpts) -> Any:
    """Keep other services off the database. Raises ConfigurationInvalid when one holds it."""
    url = make_url(conf.database.connection)
    sqlite = url.get_backend_name() == "sqlite" and url.database
    beside = Path(url.database).absolute().parent if sqlite and url.database else Path.cwd()
    folder = Path(conf.lock_folder).absolute() if conf.lock_folder else beside
    coordinator = coordination.get_coordinator(f"file://{folder}", b"synergy-service")
    coordinator.start()
    name = Path(url.database).name if sqlite and url.database else url.database or "synergy"
    lock = coordinator.get_lock(f"{name}-service".encode())
    if not lock.acquire(blocking=False):
        coordinator.stop()
        where = url.render_as_string(hide_password=True)
        raise ConfigurationInvalid(
            [f"database {where} is locked by another synergy-service: stop that one first"]
        )
    return lock


def check_address(conf: Any) -> None:
    """Try the address of [api]. Raises ConfigurationInvalid when something listens there."""
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


def api_of(services: Services, conf: cfg.ConfigOpts) -> Wsgi:
    """Return the WSGI application of the API over these services."""
    strategy = conf.api.auth_strategy
    if strategy == NONE:
        LOG.warning(
            "[api] auth_strategy=none: whoever reaches %s port %s is an administrator",
            conf.api.host, conf.api.port,
        )  # fmt: skip
    return served(
        services,
        new_enforcer(conf),
        conf,
        strategy=strategy,
        longest_body=conf.api.longest_body_bytes,
    )


def _service(conf: cfg.ConfigOpts) -> Any:
    """Return the oslo.service that opens everything in the process it is started in."""
    from oslo_service import service

    from synergy.api.server import ApiServer
    from synergy.service.door import Door

    class Service(service.Service):  # type: ignore[misc]
        """Host and API."""

        def start(self) -> None:
            self._door: Door | None = None
            clock = WatchedClock(SystemClock(), boot_id=boot_id())
            vault = Vault(read_keys(Path(conf.database.keys_file)))
            self._store = SqlStore(database.open_engine(conf.database), vault)
            with self._store.reading() as uow:
                clock.go_on_from(uow.safety.mark())
            installed, factors = manager_classes(), site_factors()
            self._cloud = cloud_plugins()[conf.cloud].open_cloud(conf, clock)
            self._host = Host(
                conf,
                {name: installed[name] for name in conf.managers},
                clock=clock,
                store=self._store,
                needs={
                    **self._cloud.ports,
                    "site_factors": {name: factors[name]() for name in conf.site_factors},
                },
            )
            self._host.start()
            if conf.api.socket:
                self._door = Door(self._host, conf.api.socket)
                self._door.start()
            self._api = ApiServer(api_of(self._host, conf), LANE_OF, conf.api)
            self._api.start()
            # What lives as long as the service is not looked through again: a full collection
            # would keep the relay's thread from running for a tenth of a second.
            gc.collect()
            gc.freeze()
            super().start()

        def stop(self, graceful: bool = False) -> None:
            LOG.info("synergy-service stops")
            self._api.stop()
            if self._door is not None:
                self._door.stop()
            self._host.stop()
            self._cloud.close()
            self._store.close()
            super().stop(graceful)

        def wait(self) -> None:
            self._api.join()

    return Service()


def run(argv: Sequence[str]) -> int:
    """Run the service, and return its exit code."""
    backend.init_backend(backend.BackendType.THREADING)
    from oslo_service import service

    try:
        conf = new_conf()
        read_configuration(conf, argv)
        logs.set_up(conf)
        check(conf)
        lock = take_lock(conf)
    except ConfigurationInvalid as error:
        tell(error)
        return 1
    try:
        check_address(conf.api)
        launcher = service.launch(conf, _service(conf), workers=1, restart_method="mutate")
        return int(launcher.wait() or 0)
    except ConfigurationInvalid as error:
        tell(error)
        return 1
    finally:
        lock.release()


def tell(error: ConfigurationInvalid) -> None:
    """Print everything that has to be mended, one line each."""
    for problem in error.problems:
        sys.stderr.write(f"synergy: {problem}\n")


def main() -> None:
    """Run synergy-service."""
    sys.exit(run(sys.argv[1:]))

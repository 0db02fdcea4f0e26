"""The entry point of synergy-manage: database, keys and configuration, without the service."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg

from synergy.core.errors import ConfigurationInvalid, Conflict, SynergyError
from synergy.db import engine as database
from synergy.db.unit_of_work import Store
from synergy.db.vault import Vault, new_key, read_keys, write_keys
from synergy.service.main import check, read_configuration, tell
from synergy.service.options import new_conf


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _db_upgrade(conf: cfg.ConfigOpts) -> None:
    """Create or upgrade the tables."""
    engine = database.open_engine(conf.database)
    _say(f"database is at revision {database.upgrade(engine)}")


def _db_check(conf: cfg.ConfigOpts) -> None:
    """Tell whether the tables fit this version of Synergy."""
    revision = database.check(database.open_engine(conf.database))
    _say(f"database is at revision {revision}, as this Synergy needs")


def _keys_create(conf: cfg.ConfigOpts) -> None:
    """Make the key file."""
    path = Path(conf.database.keys_file)
    if path.exists():
        raise Conflict(f"{path} exists: use synergy-manage keys rotate to change the key")
    write_keys(path, [new_key()])
    _say(f"made {path}")


def _keys_rotate(conf: cfg.ConfigOpts) -> None:
    """Seal everything with a new key, then drop the old ones. Stop the service first."""
    path = Path(conf.database.keys_file)
    keys = [new_key(), *read_keys(path)]
    write_keys(path, keys)  # from here on both keys open, whatever happens
    store = Store(database.open_engine(conf.database), Vault(keys))
    with store() as uow:
        count = uow.requests.reseal_bodies()
        uow.commit()
    write_keys(path, keys[:1])
    _say(f"sealed {count} message(s) with a new key")


def _config_validate(conf: cfg.ConfigOpts) -> None:
    """List everything that keeps the service from starting."""
    check(conf)
    _say("the configuration is complete and valid")


_ACTIONS: dict[str, dict[str, Callable[[cfg.ConfigOpts], None]]] = {
    "db": {"upgrade": _db_upgrade, "check": _db_check},
    "keys": {"create": _keys_create, "rotate": _keys_rotate},
    "config": {"validate": _config_validate},
}


def _add_actions(subparsers: Any) -> None:
    for topic, actions in _ACTIONS.items():
        parser = subparsers.add_parser(topic, help=", ".join(actions))
        below = parser.add_subparsers(dest="verb", required=True, metavar="ACTION")
        for verb, action in actions.items():
            below.add_parser(verb, help=action.__doc__).set_defaults(run=action)


def run(argv: Sequence[str]) -> int:
    """Do what is asked, and return the exit code."""
    try:
        conf = new_conf()
        conf.register_cli_opt(cfg.SubCommandOpt("action", title="actions", handler=_add_actions))
        read_configuration(conf, argv)
        conf.action.run(conf)
    except ConfigurationInvalid as error:
        tell(error)
        return 1
    except SynergyError as error:
        sys.stderr.write(f"synergy-manage: {error}\n")
        return 1
    return 0


def main() -> None:
    """Run synergy-manage."""
    sys.exit(run(sys.argv[1:]))

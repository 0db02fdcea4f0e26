"""The entry point of synergy-manage: database, keys and configuration, without the service."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oslo_config import cfg

from synergy.core.errors import ConfigurationInvalid, Conflict, SynergyError
from synergy.db import engine as database
from synergy.db.store import SqlStore
from synergy.db.vault import Vault, new_key, read_keys, write_keys
from synergy.ports import Finding
from synergy.service.main import (
    check,
    check_database,
    check_keys,
    read_configuration,
    tell,
)
from synergy.service.options import cloud_plugins, new_conf, problems_of


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
    store = SqlStore(database.open_engine(conf.database), Vault(keys))
    with store.writing() as uow:
        count = uow.requests.reseal_bodies()
        uow.commit()
    write_keys(path, keys[:1])
    _say(f"sealed {count} message(s) with a new key")


def _config_validate(conf: cfg.ConfigOpts) -> None:
    """List everything that keeps the service from starting."""
    check(conf)
    _say("the configuration is complete and valid")


def _findings(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """Examine configuration, key and database, then the cloud."""
    problems = problems_of(conf)
    for problem in problems:
        yield Finding(name="configuration", well=False, said=problem, mend="edit the file")
    if not problems:
        yield Finding(name="configuration", well=True, said="complete and valid")
    for name, attempt, mend in (
        ("key", check_keys, "synergy-manage keys create"),
        ("database", check_database, "synergy-manage db upgrade"),
    ):
        try:
            attempt(conf)
            yield Finding(name=name, well=True, said="as this Synergy needs it")
        except SynergyError as error:
            yield Finding(name=name, well=False, said=str(error), mend=mend)
    examine = getattr(cloud_plugins().get(conf.cloud), "examine", None)
    if examine is not None and not problems:
        try:
            yield from examine(conf, probe=conf.action.probe)
        except ConfigurationInvalid as error:
            for problem in error.problems:
                yield Finding(name="cloud", well=False, said=problem, mend="edit the file")


def _doctor(conf: cfg.ConfigOpts) -> None:
    """Check every connection, right and setting, and say how to mend each."""
    found = []
    for finding in _findings(conf):
        found.append(finding)
        if conf.action.format != "json":
            _say(f"{'ok  ' if finding.well else 'FAIL'}  {finding.name}: {finding.said}")
            if not finding.well:
                _say(f"      mend: {finding.mend}")
    if conf.action.format == "json":
        _say(json.dumps([asdict(finding) for finding in found], indent=2))
    ill = sum(not finding.well for finding in found)
    if ill:
        raise Conflict(f"{ill} of {len(found)} checks failed")


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
    doctor = subparsers.add_parser("doctor", help=_doctor.__doc__)
    doctor.set_defaults(run=_doctor)
    doctor.add_argument(
        "--no-probe", dest="probe", action="store_false",
        help="Do not make and delete an empty host aggregate to see which way nova-api's messages "
        "take.",
    )  # fmt: skip
    doctor.add_argument("-f", "--format", choices=["text", "json"], default="text")


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

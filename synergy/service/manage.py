"""The entry point of synergy-manage: database, keys and configuration, without the service.

What it writes is either safe while a service runs, or refused while one runs.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from oslo_config import cfg
from sqlalchemy import Engine, inspect

from synergy.api import authentication
from synergy.api.policies import new_enforcer
from synergy.core.errors import ConfigurationInvalid, Conflict, InvalidInput, SynergyError
from synergy.db import engine as database
from synergy.db.key_file import create_keys, locked_keys, new_key, read_keys, write_keys
from synergy.db.leadership import BEAT_S, Leadership, holder_of
from synergy.db.models import LeadershipRow
from synergy.db.reseal import count_sealed, reseal
from synergy.db.vault import Vault
from synergy.drivers.clock import SystemClock
from synergy.ports import Finding
from synergy.service import archive_commands, from_2
from synergy.service.main import (
    check,
    check_database,
    check_keys,
    check_seals,
    opened_database,
    print_problems,
    read_configuration,
)
from synergy.service.options import cloud_plugins, new_conf, problems_of
from synergy.service.shown_options import DEFAULT, as_file, shown_options

KEY_WAIT_S: Final = 5 * BEAT_S
KEY_POLL_S: Final = 0.2


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _db_upgrade(conf: cfg.ConfigOpts) -> None:
    """Create or upgrade the tables. Stop the service first; an interrupted run can be repeated."""
    with opened_database(conf, create=True) as engine, _exclusive(engine, "db upgrade"):
        _print(f"database is at revision {database.upgrade(engine)}")


@contextmanager
def _exclusive(engine: Engine, what: str) -> Iterator[None]:
    """Keep services off the database. Raises Conflict naming who uses it.

    A database without the table of leaders is older than every service that takes leadership.
    """
    if not inspect(engine).has_table(LeadershipRow.__tablename__):
        yield
        return
    leadership = Leadership(engine, SystemClock(), role=f"synergy-manage {what}")
    leadership.take()
    try:
        yield
    finally:
        leadership.leave()


def _db_check(conf: cfg.ConfigOpts) -> None:
    """Check whether the tables fit this version of Synergy, and whether the file is intact."""
    with opened_database(conf) as engine:
        database.examine(engine)
        _print(f"database is at revision {database.check(engine)}, as this Synergy needs")
        if holder := holder_of(engine, SystemClock()):
            _print(f"it is in use by {holder}")


def _db_version(conf: cfg.ConfigOpts) -> None:
    """Print the revision of the tables, even of another version; an empty line without tables."""
    with opened_database(conf) as engine:
        _print(database.revision(engine))


def _keys_create(conf: cfg.ConfigOpts) -> None:
    """Create the key file."""
    path = Path(conf.database.keys_file)
    kept = 0 if conf.action.force else _sealed_count(conf)
    if kept and not os.path.lexists(path):
        raise Conflict(
            f"the database keeps {kept} sealed message(s), which a new key cannot open: restore "
            f"the key file that sealed them as {path}, or give them up with --force"
        )
    create_keys(path)
    _print(f"created {path}")


def _sealed_count(conf: cfg.ConfigOpts) -> int:
    """Return how many sealed messages the database keeps, 0 without a database."""
    try:
        with opened_database(conf) as engine:
            database.check(engine)
            return count_sealed(engine, Vault([new_key()])).unreadable
    except SynergyError:
        return 0


def _keys_rotate(conf: cfg.ConfigOpts) -> None:
    """Seal everything with a new key, even while a service runs; old keys stay in the file."""
    path = Path(conf.database.keys_file)
    with opened_database(conf) as engine, locked_keys(path):
        database.check(engine)
        keys = [new_key(), *read_keys(path)]
        write_keys(
            path, keys
        )  # before sealing: whatever happens from here on, a key for every message is in the file
        _wait_for_service(engine, keys[0])
        _reseal(engine, keys)


def _keys_reseal(conf: cfg.ConfigOpts) -> None:
    """Seal with the newest key what an interrupted rotate left behind."""
    path = Path(conf.database.keys_file)
    with opened_database(conf) as engine, locked_keys(path):
        database.check(engine)
        _reseal(engine, read_keys(path))


def _reseal(engine: Engine, keys: Sequence[str]) -> None:
    vault = Vault(keys)
    _print(f"sealed {reseal(engine, vault)} message(s) with the newest key")
    left = count_sealed(engine, vault)
    if left.unreadable:
        _print(f"no key opens {left.unreadable} message(s); they stay as they are")
    if left.older:
        _print(f"{left.older} message(s) arrived in the meantime: run synergy-manage keys reseal")
    elif len(keys) > 1:
        _print("the old keys stay until you run synergy-manage keys prune")


def _wait_for_service(engine: Engine, key: str) -> None:
    """Wait until a running service has noticed the changed key file, for KEY_WAIT_S at most."""
    deadline_s = time.monotonic() + KEY_WAIT_S
    while (holder := holder_of(engine, SystemClock())) and holder.seals_with_another(key):
        if time.monotonic() > deadline_s:
            _print(f"{holder} does not use the new key yet; what it seals stays readable")
            return
        time.sleep(KEY_POLL_S)


def _keys_prune(conf: cfg.ConfigOpts) -> None:
    """Drop the old keys. Refused while anything needs one, or a service seals with one."""
    path = Path(conf.database.keys_file)
    with opened_database(conf) as engine, locked_keys(path):
        database.check(engine)
        keys = read_keys(path)
        vault = Vault(keys)
        _check_prunable(engine, vault)
        holder = holder_of(engine, SystemClock())
        if holder and holder.seals_with_another(keys[0]):
            raise Conflict(f"{holder} still seals with an old key: send it SIGHUP, and try again")
        write_keys(path, keys[:1])
        try:
            _check_prunable(
                engine, vault
            )  # again: the service may have written just before the keys were dropped
        except Conflict:
            write_keys(path, keys)
            raise
        _print(f"dropped {len(keys) - 1} old key(s)")


def _check_prunable(engine: Engine, vault: Vault) -> None:
    older = count_sealed(engine, vault).older
    if older:
        raise Conflict(
            f"{older} stored message(s) need an old key: run synergy-manage keys reseal first"
        )


def _config_validate(conf: cfg.ConfigOpts) -> None:
    """List everything that would keep the service from starting."""
    check(conf)
    _print("the configuration is complete and valid")


def _config_show(conf: cfg.ConfigOpts) -> None:
    """Print the value that each option has, and the file that it comes from; secrets are masked."""
    action = conf.action
    options = [
        one
        for one in shown_options(conf)
        if (not action.group or one.group == action.group)
        and (not action.changed or one.source != DEFAULT)
    ]
    if action.group and not options and not action.changed:
        raise InvalidInput(f"there is no section [{action.group}] in the configuration")
    if action.format == "json":
        _print(json.dumps([asdict(one) for one in options], indent=2))
        return
    for line in as_file(options):
        _print(line)


def _check_write(conf: cfg.ConfigOpts) -> None:
    """Write to the database without a change. Raises StoreUnavailable."""
    with opened_database(conf) as engine:
        database.check_writable(engine)


def _check_tokens(conf: cfg.ConfigOpts) -> None:
    """Get a token of Synergy's own user, and validate it as the API validates those of callers."""
    # What it advises on caches is for the log of the service, not among the findings.
    logging.getLogger("keystonemiddleware").setLevel(logging.ERROR)
    authentication.check_token(conf, cloud_plugins()[conf.cloud].issue_token(conf))


def _check_policy(conf: cfg.ConfigOpts) -> None:
    """Read the policy files as the API does. Raises ConfigurationInvalid."""
    try:
        new_enforcer(conf)
    except Exception as error:  # oslo.policy has no common class for what a file may cause
        raise ConfigurationInvalid([f"the policy cannot be read: {error}"]) from error


TOKENS_FIX: Final = (
    "check auth_url, credentials, interface, region_name and cafile in [keystone_authtoken]: "
    "interface needs an endpoint of Keystone in its catalogue (openstack endpoint list --service "
    "identity)"
)


def _findings(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """Check configuration, key and database, then the cloud."""
    problems = problems_of(conf)
    for problem in problems:
        yield Finding(name="configuration", passed=False, detail=problem, fix="edit the file")
    if not problems:
        yield Finding(name="configuration", passed=True, detail="complete and valid")
    asks_keystone = (
        not problems
        and conf.api.auth_strategy == authentication.KEYSTONE
        and hasattr(cloud_plugins()[conf.cloud], "issue_token")
    )
    validation = [("validation of tokens", _check_tokens, TOKENS_FIX)] if asks_keystone else []
    for name, attempt, fix in (
        (
            "key",
            check_keys,
            "synergy-manage keys create; or restore the old file, if there was one",
        ),
        ("database", check_database, "synergy-manage db sync"),
        ("writing to the database", _check_write, "let [database] connection name a writable one"),
        ("sealed messages", check_seals, "restore the key file that sealed them"),
        ("policy", _check_policy, "correct or remove [oslo_policy] policy_file"),
        *validation,
    ):
        try:
            attempt(conf)
            yield Finding(name=name, passed=True, detail="as this Synergy needs it")
        except SynergyError as error:
            yield Finding(name=name, passed=False, detail=str(error), fix=fix)
    examine = getattr(cloud_plugins().get(conf.cloud), "examine", None)
    if examine is not None and not problems:
        try:
            yield from examine(conf, probe=conf.action.probe)
        except ConfigurationInvalid as error:
            for problem in error.problems:
                yield Finding(name="cloud", passed=False, detail=problem, fix="edit the file")


def _doctor(conf: cfg.ConfigOpts) -> None:
    """Check every connection, permission and setting, and print a fix for each that fails."""
    found = []
    for finding in _findings(conf):
        found.append(finding)
        if conf.action.format != "json":
            _print(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.name}: {finding.detail}")
            if not finding.passed:
                _print(f"      fix: {finding.fix}")
    if conf.action.format == "json":
        _print(json.dumps([asdict(finding) for finding in found], indent=2))
    failed = sum(not finding.passed for finding in found)
    if failed:
        raise Conflict(f"{failed} of {len(found)} checks failed")


_ACTIONS: dict[str, dict[str, Callable[[cfg.ConfigOpts], None]]] = {
    "db": {
        "sync": _db_upgrade,
        "upgrade": _db_upgrade,  # the name before, which scripts have
        "version": _db_version,
        "check": _db_check,
    },
    "keys": {
        "create": _keys_create,
        "rotate": _keys_rotate,
        "reseal": _keys_reseal,
        "prune": _keys_prune,
    },
    "config": {"validate": _config_validate, "show": _config_show},
}


def _add_actions(subparsers: Any) -> None:
    for topic, actions in _ACTIONS.items():
        parser = subparsers.add_parser(topic, help=", ".join(actions))
        below = parser.add_subparsers(dest="verb", required=True, metavar="ACTION")
        for verb, action in actions.items():
            made = below.add_parser(verb, help=action.__doc__)
            made.set_defaults(run=action)
            if action is _keys_create:
                made.add_argument(
                    "--force", action="store_true",
                    help="Create a key even if the database keeps messages that it cannot open.",
                )  # fmt: skip
            if action is _config_show:
                made.add_argument("group", nargs="?", metavar="SECTION", help="Only this section.")
                made.add_argument(
                    "--changed", action="store_true", help="Only what differs from the default."
                )
                made.add_argument("-f", "--format", choices=["text", "json"], default="text")
        if topic == "db":
            archive_commands.add_actions(below)
    doctor = subparsers.add_parser("doctor", help=_doctor.__doc__)
    doctor.set_defaults(run=_doctor)
    doctor.add_argument(
        "--no-probe", dest="probe", action="store_false",
        help="Do not create and delete an empty host aggregate to follow the messages of nova-api.",
    )  # fmt: skip
    doctor.add_argument("-f", "--format", choices=["text", "json"], default="text")
    from_2.add_action(subparsers)


def run(argv: Sequence[str]) -> int:
    """Run an action, and return the exit code."""
    try:
        conf = new_conf()
        conf.register_cli_opt(cfg.SubCommandOpt("action", title="actions", handler=_add_actions))
        read_configuration(conf, argv)
        conf.action.run(conf)
    except ConfigurationInvalid as error:
        print_problems(error)
        return 1
    except SynergyError as error:
        sys.stderr.write(f"synergy-manage: {error}\n")
        return 1
    return 0


def main() -> None:
    """Run synergy-manage."""
    sys.exit(run(sys.argv[1:]))

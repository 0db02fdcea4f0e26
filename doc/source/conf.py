"""Sphinx configuration; the figures and tables of the pages are made from the code."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sphinx.application import Sphinx

from synergy.core import errors
from synergy.core.declared.fields import Argument, Setting
from synergy.core.declared.filters import (
    CHANGE_FILTERS,
    EVENT_FILTERS,
    REQUEST_FILTERS,
    SORTING,
)
from synergy.core.declared.metrics import METRICS, MetricKind
from synergy.core.declared.notifications import NOTIFICATIONS, Notification, sample
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.lifecycle import ABSORBED, TERMINAL, TRANSITIONS, diagram
from synergy.core.model import ServerStatus, State
from synergy.core.reasons import Reason
from synergy.core.reconcile import TABLE
from synergy.managers.base import Duty, Manager
from synergy.service.options import manager_classes

sys.path.insert(0, str(Path(__file__).parent))
import facts

project = "Synergy"
copyright = "The Synergy developers"
extensions: list[str] = []
exclude_patterns = ["generated"]
html_theme = "alabaster"

Row = tuple[object, ...]
_GENERATED = Path(__file__).parent / "generated"


def _write(name: str, lines: Sequence[str]) -> None:
    _GENERATED.mkdir(exist_ok=True)
    (_GENERATED / name).write_text("\n".join(lines) + "\n")


def _table(title: str, headers: Row, rows: Iterable[Row]) -> list[str]:
    lines = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in (headers, *rows):
        lines += [f"   {'*' if n == 0 else ' '} - {cell}" for n, cell in enumerate(row)]
    return lines


def settings_table(title: str, settings: Iterable[Setting]) -> list[str]:
    """Return the lines of a table of settings."""
    rows = [
        (
            f"``{one.name}``",
            f"{one.help} {one.kind.note}".strip(),
            one.kind.words(),
            f"``{json.dumps(one.kind.show(one.default))}``",
            "operators" if one.operators_only else "the project's readers",
        )
        for one in settings
    ]
    headers = ("setting", "meaning", "what may be given", "default", "who sees it")
    return _table(title, headers, rows)


def arguments_table(title: str, table: Iterable[Argument]) -> list[str]:
    """Return the lines of a table of what a list may be filtered or sorted by."""
    rows = [(f"``{one.name}``", one.help, one.kind.words()) for one in table]
    return _table(title, ("parameter", "meaning", "what may be given"), rows)


def reasons_table(reasons: Iterable[Reason]) -> list[str]:
    """Return the lines of a table of reasons."""
    rows = [(f"``{one}``", one.meaning, one.unblocked_by) for one in reasons]
    return _table("Why a request waits", ("reason", "what it means", "what ends the wait"), rows)


def duties_rows(managers: Mapping[str, type[Manager]]) -> list[Row]:
    """Return for each duty its manager, its method, how often it is done, and what it does."""
    return [
        (name, f"``{duty.name}``", _period(name, duty), duty.help)
        for name, cls in sorted(managers.items())
        for duty in cls.duties
    ]


def _period(name: str, duty: Duty) -> str:
    spelled = f"``[{name}] {duty.every}``" if isinstance(duty.every, str) else f"{duty.every:g} s"
    often = f"{duty.times} times in {spelled}" if duty.times > 1 else spelled
    return f"{often}, while there is something to do" if duty.when else often


def notifications_lines(table: Iterable[Notification]) -> list[str]:
    """Return the lines of the reference of notifications: all in a table, then schema and sample
    of each."""
    rows = [(f"``{one.name}``", one.version, one.priority.lower(), one.sent) for one in table]
    lines = _table("Notifications", ("event type", "version", "priority", "when it is sent"), rows)
    for payload in dict.fromkeys(one.payload for one in table):
        declared = next(one for one in table if one.payload is payload)
        lines += ["", f"Schema of the payload of ``{declared.name}``", ""]
        lines += _json(declared.schema())
    for one in table:
        lines += ["", f"``{one.name}``, an example of its payload", "", *_json(sample(one))]
    return lines


def _json(value: object) -> list[str]:
    text = json.dumps(value, indent=2).split("\n")
    return [".. code-block:: json", "", *(f"   {line}" for line in text)]


def setup(_app: Sphinx) -> None:
    _write("settings.inc", settings_table("Settings of a project", PROJECT_SETTINGS))
    _write("user-settings.inc", settings_table("Settings of a user", USER_SETTINGS))
    rows = sorted((s.value, e.value, t.value) for (s, e), t in TRANSITIONS.items())
    _write("transitions.inc", _table("Every transition", ("from", "event", "to"), rows))
    late = sorted((s.value, e.value) for s, e in ABSORBED if s not in TERMINAL)
    _write("absorbed.inc", _table("Late facts that change nothing", ("state", "event"), late))
    _write("life.dot", [diagram()])
    shown = [(f"**{s}**", *(TABLE[s, status] for status in ServerStatus)) for s in State]
    headers = ("state", *(f"Nova: {status}" for status in ServerStatus))
    _write("reconcile.inc", _table("What follows from what Nova shows", headers, shown))
    found = [
        (cls.code, (cls.__doc__ or "").split("\n")[0])
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.SynergyError)
    ]
    _write("errors.inc", _table("Error codes", ("code", "meaning"), sorted(found)))
    for name, table in (
        ("requests", (*REQUEST_FILTERS, *SORTING)),
        ("events", EVENT_FILTERS),
        ("audit", CHANGE_FILTERS),
    ):
        _write(f"filters-{name}.inc", arguments_table(f"/v1/{name}", table))
    _write("notifications.inc", notifications_lines(NOTIFICATIONS))
    _write("reasons.inc", reasons_table(Reason))
    metrics = [
        (
            f"``{one.name}{'_total' if one.kind is MetricKind.COUNTER else ''}``",
            str(one.kind),
            ", ".join(f"``{label}``" for label in one.labels),
            one.help,
        )
        for one in METRICS
    ]
    _write("metrics.inc", _table("Metrics", ("metric", "kind", "labels", "meaning"), metrics))
    commands = [
        (name, command.name, command.help, f"``{command.rule}``")
        for name, cls in sorted(manager_classes().items())
        for command in cls.commands().values()
    ]
    headers = ("manager", "command", "what it does", "policy rule")
    _write("commands.inc", _table("Commands of the managers", headers, commands))
    headers = ("manager", "duty", "every", "what it does")
    _write("duties.inc", _table("Duties of the managers", headers, duties_rows(manager_classes())))
    headers = ("fact", "what it says", "published by", "heard by the managers")
    _write("facts.inc", _table("Facts between managers", headers, facts.rows(manager_classes())))

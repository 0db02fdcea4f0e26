"""Metrics, alerts and board speak of the same names and labels."""

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from traceback import walk_stack
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from synergy.api.metrics import Metrics
from synergy.api.services import Services
from synergy.core.declared.metrics import METRICS
from synergy.managers.forecast import ForecastManager
from synergy.sim.engine import Plugins
from tests.builders import World, world
from tests.patience import until
from tests.served import Api, WorldServices

ROOT = Path(__file__).parents[3]
BOARD = json.loads((ROOT / "etc" / "synergy" / "grafana.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "etc" / "synergy" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
LABELS = {series: set(metric.labels) for metric in METRICS for series in metric.series()}
OF_PROMETHEUS = {"instance", "job", "le"}  # labels that it adds
VARIABLES = {f"${one['name']}" for one in BOARD["templating"]["list"]}
PANELS = [one for one in BOARD["panels"] if one["type"] != "row"]
EXPRESSIONS = [
    *[pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES],
    *[
        pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
        for panel in PANELS
        for target in panel["targets"]
    ],
    *[
        pytest.param(one["query"], id=one["name"])
        for one in BOARD["templating"]["list"]
        if one["type"] == "query"
    ],
]


def test_what_is_exposed_is_what_is_declared() -> None:
    with world(plugins=Plugins(managers=(ForecastManager,))) as made:
        made.add("A", default_quota="shared")
        made.run(1)
        made.create(project="A", count=3)
        made.run(20)
        api = Api(made).as_admin()
        api.get("/v1/managers")
        text = api.raw_text("/metrics")
    found = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name: one for name, one in found.items() if not name.endswith("_created")}
    # A world has no archive and sends nothing, and what nobody knows is left out.
    unknown = ("synergy_quarantine", "synergy_damaged", "synergy_notifications")
    filled = [one for one in METRICS if not one.name.startswith(unknown)]
    assert set(ours) == {one.name for one in filled}
    for metric in filled:
        family = ours[metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            if sample.name in metric.series():
                assert set(sample.labels) - {"le"} == set(metric.labels)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_alert_or_a_panel_asks_for_what_there_is(expression: str) -> None:
    named = re.findall(r"\bsynergy_\w+", expression)
    assert set(named) <= set(LABELS)
    assert named or "up{" in expression
    for series, selected in re.findall(r"\b(synergy_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)=", selected)) <= LABELS[series] | OF_PROMETHEUS
    known = set().union(OF_PROMETHEUS, *(LABELS[one] for one in named))
    for grouped in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expression):
        assert {one.strip() for one in grouped.split(",")} <= known
    assert set(re.findall(r"\$\w+", expression)) <= VARIABLES


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        ("synergy_manager_status", "status", "DEGRADED|STALLED|ERROR|RUNNING"),
        ("synergy_quota", "kind", "shortfall|shared|shared_used|shared_free|lent|total"),
        ("synergy_requests", "state", "QUEUED|HELD|DISPATCHING|BUILDING|ACTIVE|EXPIRING"),
    ],
)
def test_the_values_of_labels_that_are_asked_for_exist(
    metric: str, label: str, values: str
) -> None:
    pattern = re.compile(metric + r"\{[^}]*" + label + r'=~?"([^"$]*)"')
    asked = {
        value
        for one in EXPRESSIONS
        for found in pattern.findall(str(one.values[0]))
        for value in found.split("|")
    }
    assert asked
    assert asked <= set(values.split("|"))


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["action"]
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}


def test_the_board_can_be_imported_and_its_panels_do_not_overlap() -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= set(BOARD)
    ids = [one["id"] for one in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for one in BOARD["panels"]
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert all(0 <= x < 24 for x, _ in cells)
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"].endswith(".")
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0


def test_every_metric_that_is_declared_is_shown_or_alerted_on() -> None:
    used = {
        name for one in EXPRESSIONS for name in re.findall(r"\bsynergy_\w+", str(one.values[0]))
    }
    assert {one.name for one in METRICS if not used & set(one.series())} == set()


class Slow(WorldServices):
    """Services of a world that answer once they may, and count what is collected."""

    def __init__(self, made: World) -> None:
        super().__init__(made)
        self.may = threading.Event()
        self.collected = 0

    def managers(self) -> list[Any]:
        self.collected += 1
        assert self.may.wait(30)
        return super().managers()


def inside(metrics: Metrics) -> int:
    """Return how many threads ask for the text now."""
    frames = (walk_stack(frame) for frame in sys._current_frames().values())
    asking = type(metrics).text.__code__
    return sum(any(one.f_code is asking for one, _ in stack) for stack in frames)


def test_those_who_read_at_once_have_it_collected_once() -> None:
    with world() as made, ThreadPoolExecutor(5) as pool:
        slow = Slow(made)
        metrics = Metrics(Services(slow))
        asked = [pool.submit(metrics.text) for _ in range(5)]
        until(lambda: inside(metrics) == 5)
        slow.may.set()
        texts = [one.result() for one in asked]
        assert slow.collected <= 2  # a thread may have come to the lock too late
        assert {text.splitlines()[0] for text in texts} == {texts[0].splitlines()[0]}
        before = slow.collected
        metrics.text()
        assert slow.collected == before + 1

"""What Prometheus reads: numbers of the whole service, never of one project.

Which metrics there are is declared in `synergy.core.declared.metrics`; here is where each value is
asked for.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from synergy.api.services import Services
from synergy.core.declared import metrics as declared
from synergy.core.declared.metrics import DeclaredMetric, MetricKind
from synergy.core.errors import SynergyError

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STATUSES = ("CREATED", "STOPPED", "RUNNING", "DEGRADED", "STALLED", "ERROR", "DESTROYED")


T = TypeVar("T")


class Metrics:
    """The numbers of one application."""

    def __init__(self, services: Services) -> None:
        self._lock = threading.Lock()
        self._under_way: Future[bytes] | None = None
        self._registry = CollectorRegistry()
        self._registry.register(_OfService(services))
        requests, duration = declared.API_REQUESTS, declared.API_DURATION
        self._answered = Counter(
            requests.name, requests.help, requests.labels, registry=self._registry
        )
        self._took_s = Histogram(
            duration.name, duration.help, duration.labels, registry=self._registry, buckets=_BUCKETS
        )

    def answered(self, operation: str, status: int, took_s: float) -> None:
        """Count an answer."""
        self._answered.labels(operation, str(status)).inc()
        self._took_s.labels(operation).observe(took_s)

    def text(self) -> bytes:
        """Return the numbers as Prometheus reads them.

        Those who ask while they are being collected get the same ones: several servers of
        Prometheus read at once, and each answer counts in the database.
        """
        with self._lock:
            others = self._under_way
            mine = self._under_way = Future() if others is None else others
        if others is not None:
            return others.result()
        try:
            mine.set_result(generate_latest(self._registry))
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it too
            mine.set_exception(error)
        finally:
            with self._lock:
                self._under_way = None
        return mine.result()


class _OfService(Collector):
    """Asks the managers when it is read; what is not known is left out."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._managers()
        counts = _known(self._services.queue.counts)
        if counts is not None:
            yield _by(declared.REQUESTS, counts)
        aside = _known(self._services.archive.quarantined)
        if aside is not None:
            yield _single(declared.QUARANTINED, aside["quarantined"])
            yield _single(declared.QUARANTINE_MAX, aside["quarantine_max"])
            yield _by(declared.DAMAGED_ROWS, aside["damaged"])
        rule_suspended = _known(self._services.projects.rule_suspended)
        if rule_suspended is not None:
            yield _single(declared.RULE_SUSPENDED, rule_suspended)
        yield from self._round()
        yield from self._ending()
        yield from self._notifications()
        yield from self._forecasts()
        quota = _known(self._services.quotas.show)
        if quota is not None:
            family = _family(declared.QUOTA)
            for kind, amounts in (
                ("total", quota["total"]),
                ("shared", quota["shared"]),
                ("shared_used", quota["shared_used"]),
                ("shared_free", quota["shared_free"]),
                ("lent", quota["lent"]),
                ("shortfall", quota["shortfall"]),
            ):
                for name, amount in sorted((amounts or {}).items()):
                    family.add_metric([kind, name], amount)
            yield family

    def _managers(self) -> Iterator[Metric]:
        status, lag_s = _family(declared.MANAGER_STATUS), _family(declared.MANAGER_LAG)
        runs, failures = _family(declared.MANAGER_RUNS), _family(declared.MANAGER_FAILURES)
        for one in self._services.host.managers():
            lag_s.add_metric([one["name"]], one["lag_s"])
            for name in _STATUSES:
                status.add_metric([one["name"], name], float(one["status"] == name))
            runs.add_metric([one["name"]], one["runs"])
            failures.add_metric([one["name"]], one["failures"])
        yield from (status, runs, failures, lag_s)

    def _notifications(self) -> Iterator[Metric]:
        shown = _known(self._services.notifications.show)
        if shown is None or not shown["active"]:
            return
        yield _single(declared.NOTIFICATIONS_WAITING, shown["waiting"])
        yield _single(declared.NOTIFICATIONS_LAG, shown["lag_s"])
        yield _single(declared.NOTIFICATIONS_SENT, shown["sent"])
        yield _single(declared.NOTIFICATIONS_DROPPED, shown["dropped"])
        yield _single(declared.NOTIFICATIONS_NOT_POSTED, shown["not_posted"])

    def _forecasts(self) -> Iterator[Metric]:
        """Yield the score of all forecasts; none of it before one is resolved."""
        found = _known(self._services.forecasts.standing)
        if found is None:
            return
        yield _single(declared.FORECASTS_RESOLVED, max((one["count"] for one in found), default=0))
        coverage = _family(declared.FORECAST_COVERAGE)
        pinball_s = _family(declared.FORECAST_PINBALL)
        for one in found:
            coverage.add_metric([one["method"], "50"], one["coverage_50"])
            coverage.add_metric([one["method"], "90"], one["coverage_90"])
            pinball_s.add_metric([one["method"], "50"], one["pinball_50_s"])
            pinball_s.add_metric([one["method"], "90"], one["pinball_90_s"])
        yield from (coverage, pinball_s)

    def _ending(self) -> Iterator[Metric]:
        """Yield what an operator is to be woken for: nothing ends, or something is lost."""
        expiry, lost = _known(self._services.expiry.show), _known(self._services.nova.lost_builds)
        if expiry is not None:
            reasons = ("clock", "most_per_pass")
            stopped = {reason: int(expiry["reason"] == reason) for reason in reasons}
            yield _by(declared.EXPIRY_SUSPENDED, stopped)
            yield _single(declared.CLOCK_OFF, expiry["clock"]["off_s"])
            yield _single(declared.EXPIRY_DUE, expiry["due"])
            yield _single(declared.EXPIRY_EXPIRING, expiry["expiring"])
            yield _single(declared.EXPIRY_REFUSED, len(expiry["refused"]))
        if lost is not None:
            yield _single(declared.LOST_BUILDS, len(lost))

    def _round(self) -> Iterator[Metric]:
        found = _known(self._services.scheduler.latest_round)
        if found is None:
            return
        yield _by(declared.WAITING, found["reasons"])
        yield _single(declared.ROUNDS, found["rounds"])
        yield _single(declared.DISPATCHED, found["dispatched"])
        yield _single(declared.CONFLICTS, found["conflicts"])


Family = GaugeMetricFamily | CounterMetricFamily


def _family(metric: DeclaredMetric) -> Family:
    kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)


def _single(metric: DeclaredMetric, value: float) -> Family:
    """Return a metric without labels."""
    family = _family(metric)
    family.add_metric([], value)
    return family


def _by(metric: DeclaredMetric, values: Mapping[str, int]) -> Family:
    """Return a metric of one label, by its values."""
    family = _family(metric)
    for label, value in sorted(values.items()):
        family.add_metric([label], value)
    return family


def _known(ask: Callable[[], T]) -> T | None:
    """Return an answer, None where there is none now."""
    try:
        return ask()
    except SynergyError:
        return None

"""What Prometheus reads: numbers of the whole service, never of one project."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from synergy.api.services import Services
from synergy.core.errors import SynergyError

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STATUSES = ("CREATED", "STOPPED", "RUNNING", "DEGRADED", "STALLED", "ERROR", "DESTROYED")


T = TypeVar("T")


class Metrics:
    """The numbers of one application."""

    def __init__(self, services: Services) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OfService(services))
        self._answered = Counter(
            "synergy_api_requests", "Requests that the API answered.",
            ("operation", "status"), registry=self._registry,
        )  # fmt: skip
        self._took_s = Histogram(
            "synergy_api_request_duration_seconds", "How long the API took to answer.",
            ("operation",), registry=self._registry, buckets=_BUCKETS,
        )  # fmt: skip

    def answered(self, operation: str, status: int, took_s: float) -> None:
        """Count an answer."""
        self._answered.labels(operation, str(status)).inc()
        self._took_s.labels(operation).observe(took_s)

    def text(self) -> bytes:
        """Return the numbers as Prometheus reads them."""
        return generate_latest(self._registry)


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
            family = GaugeMetricFamily("synergy_requests", "Requests by state.", labels=["state"])
            for state, count in sorted(counts.items()):
                family.add_metric([state], count)
            yield family
        aside = _known(self._services.archive.quarantined)
        if aside is not None:
            for name, text, value in (
                ("quarantined", "Messages that are kept aside for a person.", aside["quarantined"]),
                (
                    "quarantine_max",
                    "How many of them are kept; older ones leave with an error.",
                    aside["quarantine_max"],
                ),
            ):
                yield GaugeMetricFamily(f"synergy_{name}", text, value=value)
            damaged = GaugeMetricFamily(
                "synergy_damaged_rows",
                "Rows that could not be read since the start, and are set aside.",
                labels=["table"],
            )
            for table, count in aside["damaged"].items():
                damaged.add_metric([table], count)
            yield damaged
        yield from self._round()
        yield from self._ending()
        yield from self._notifications()
        quota = _known(self._services.quotas.show)
        if quota is not None:
            family = GaugeMetricFamily(
                "synergy_quota", "The shared quota, by resource class.",
                labels=["kind", "resource_class"],
            )  # fmt: skip
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
        status = GaugeMetricFamily(
            "synergy_manager_status", "1 for the status a manager is in.",
            labels=["manager", "status"],
        )  # fmt: skip
        runs = CounterMetricFamily("synergy_manager_runs", "Runs of a manager.", labels=["manager"])
        failures = CounterMetricFamily(
            "synergy_manager_failures", "Failed runs of a manager.", labels=["manager"]
        )
        lag_s = GaugeMetricFamily(
            "synergy_manager_lag_seconds", "How late a run of a manager is.", labels=["manager"]
        )
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
        yield GaugeMetricFamily(
            "synergy_notifications_waiting", "Entries of the ledger that are not sent yet.",
            value=shown["waiting"],
        )  # fmt: skip
        yield GaugeMetricFamily(
            "synergy_notifications_lag_seconds", "Age of the oldest entry that is not sent yet.",
            value=shown["lag_s"],
        )  # fmt: skip
        yield CounterMetricFamily(
            "synergy_notifications_sent", "Notifications that were sent.", value=shown["sent"]
        )
        yield CounterMetricFamily(
            "synergy_notifications_dropped", "Notifications that were never sent.",
            value=shown["dropped"],
        )  # fmt: skip
        yield CounterMetricFamily(
            "synergy_notifications_not_posted", "Notifications that the webhook did not take.",
            value=shown["not_posted"],
        )  # fmt: skip

    def _ending(self) -> Iterator[Metric]:
        """Yield what an operator is to be woken for: nothing ends, or something is lost."""
        expiry, lost = _known(self._services.expiry.show), _known(self._services.nova.lost_builds)
        if expiry is not None:
            suspended = GaugeMetricFamily(
                "synergy_expiry_suspended", "1 while no server is ended, by the reason.",
                labels=["reason"],
            )  # fmt: skip
            for reason in ("clock", "most_per_pass"):
                suspended.add_metric([reason], float(expiry["reason"] == reason))
            yield suspended
            yield GaugeMetricFamily(
                "synergy_clock_off_seconds",
                "By how much the wall clock is ahead of the time that Synergy goes by.",
                value=expiry["clock"]["off_s"],
            )
            yield GaugeMetricFamily(
                "synergy_expiry_due",
                "Servers whose lifetime is over and that are not being ended.",
                value=expiry["due"],
            )
            yield GaugeMetricFamily(
                "synergy_expiry_expiring", "Servers that are being ended.", value=expiry["expiring"]
            )
            yield GaugeMetricFamily(
                "synergy_expiry_refused", "Servers that Nova refuses to end.",
                value=len(expiry["refused"]),
            )  # fmt: skip
        if lost is not None:
            yield GaugeMetricFamily(
                "synergy_lost_builds", "Requests that the conductor has and nothing is heard of.",
                value=len(lost),
            )  # fmt: skip

    def _round(self) -> Iterator[Metric]:
        found = _known(self._services.scheduler.latest_round)
        if found is None:
            return
        waiting = GaugeMetricFamily(
            "synergy_waiting", "Queued requests by the reason why they wait.", labels=["reason"]
        )
        for reason, count in sorted(found["reasons"].items()):
            waiting.add_metric([reason], count)
        yield waiting
        for name in ("rounds", "dispatched", "conflicts"):
            yield CounterMetricFamily(
                f"synergy_scheduler_{name}", f"The scheduler's {name}.", value=found[name]
            )


def _known(ask: Callable[[], T]) -> T | None:
    """Return an answer, None where there is none now."""
    try:
        return ask()
    except SynergyError:
        return None

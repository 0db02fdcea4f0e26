"""Keeps usage history and fair-share factors current.

Why: only what is held on the shared quota is charged, from the moment it is held, in every pass.
A pass is a function of the stored history and the spans since then, so a crash between two passes
loses nothing. It writes the associations that held something and one row for all others, and
computes the factors that this can change. Must not know the queue.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from oslo_config import cfg

from synergy.core import accounts, fairshare, shares, usage, words
from synergy.core.declared import answers, commands
from synergy.core.declared.kinds import read_instant
from synergy.core.errors import Conflict
from synergy.core.events import (
    FactorsChanged,
    ProjectsChanged,
    QuotaClaimed,
    QuotaReleased,
)
from synergy.core.fairshare import Algorithm
from synergy.core.fairtree import Ties
from synergy.core.model import Association
from synergy.core.shares import Floats, Ints, ShareTree
from synergy.core.usage import Charged, History, ResetPeriod
from synergy.managers.base import Manager, Publish, command, every, on
from synergy.managers.fairshare import charging, reports, rollups
from synergy.managers.fairshare.charging import Tariff
from synergy.managers.support.render import instant_json, share_json
from synergy.ports import Clock, Reading, Store

LOG = logging.getLogger(__name__)
CLOCK_STEP_S: Final = 10.0  # by more than this the wall clock was set, not late


@dataclass(frozen=True, eq=False, kw_only=True)
class _Accounts:
    """The share tree, and where associations are in it.

    ids, rows  shape (k,): the usage of an association counts on that row
    user_ids, user_rows  shape (u,): the users of the tree
    names      n names for people, by row
    points     association priorities, shape (a,) by association_id
    """

    tree: ShareTree
    associations: Sequence[Association]
    ids: Ints
    rows: Ints
    user_ids: Ints
    user_rows: Ints
    names: list[str]
    points: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class _Standing:
    """The factors as last computed.

    at, accounts, options  when, from which accounts, by which options
    window                 how the time that usage counts for is called
    computed               from usage in units of `left` billed TRES-seconds
    """

    at: datetime
    accounts: _Accounts
    options: tuple[object, ...]
    window: str
    left: float
    computed: fairshare.FairShare

    def in_tres_seconds(self) -> fairshare.FairShare:
        return replace(self.computed, raw_usage=self.computed.raw_usage * self.left)


class FairShareManager(Manager):
    """Charges usage, decays it, and publishes factors."""

    name = "fairshare"
    needed = True
    stopped_means = "usage is not charged, and priorities keep their fair-share factors"
    woken_by = (QuotaClaimed, QuotaReleased)
    options = (
        cfg.StrOpt(
            "algorithm",
            default=Algorithm.FAIR_TREE.value,
            choices=[
                (
                    Algorithm.FAIR_TREE.value,
                    (
                        "Users are ranked depth first through the account tree, as in Slurm: the "
                        "order inside a project never depends on other projects."
                    ),
                ),
                (
                    Algorithm.CLASSIC.value,
                    (
                        "2^-(usage / shares / dampening); a user's usage is mixed with that of the "
                        "projects above."
                    ),
                ),
                (
                    Algorithm.CLASSIC_DEPTH_OBLIVIOUS.value,
                    (
                        "Classic as with Slurm's DEPTH_OBLIVIOUS: deeply nested projects are not "
                        "at a disadvantage."
                    ),
                ),
            ],
            mutable=True,
            help="How fair-share factors are computed from shares and usage.",
        ),
        cfg.StrOpt(
            "ties",
            default=Ties.MERGE.value,
            choices=[
                (Ties.MERGE.value, "Their users are ranked as one list, as Slurm documents it."),
                (Ties.SLURM.value, "One account after the other, as Slurm's program does it."),
            ],
            mutable=True,
            help="With algorithm=fair_tree: how sibling accounts with equal level_fs are ranked.",
        ),
        cfg.FloatOpt(
            "dampening",
            default=1.0,
            min=1,
            max=1000,
            mutable=True,
            help="With a classic algorithm: Slurm's FairShareDampeningFactor; the larger it is, "
            "the less shares and usage affect the factor.",
        ),
        cfg.FloatOpt(
            "debounce_s",
            default=1.0,
            min=0,
            max=3600,
            mutable=True,
            help="Shortest time in seconds between two passes that events ask for.",
        ),
        *charging.OPTIONS,
    )

    def __init__(
        self, conf: cfg.ConfigOpts.GroupAttr, clock: Clock, publish: Publish, store: Store
    ) -> None:
        self._conf, self._clock, self._publish = conf, clock, publish
        self._store = store
        self._accounts: _Accounts | None = None
        self._history: History | None = None
        self._charged_s: float | None = None  # monotonic, of the last pass of this process
        self._standing: _Standing | None = None
        self._published: FactorsChanged | None = None
        self._settled = reports.SettledUsage()

    @on(ProjectsChanged)
    def _read_accounts_anew(self, _: ProjectsChanged) -> None:
        self._accounts = None

    def resync(self) -> None:
        self._accounts = self._history = None

    def task(self) -> float | None:
        now, monotonic_s = self._clock.now(), self._clock.monotonic_s()
        tariff = charging.read_tariff(self._conf)
        known, self._history = self._history, None  # read again if this pass fails
        with self._store.writing() as uow:
            if self._accounts is None:
                self._accounts = _read_accounts(uow)
            charged = self._charge(uow, known or uow.usage.load(), tariff, now, monotonic_s)
            uow.usage.save(charged)
            uow.commit()
        self._history, self._charged_s = charged.history, monotonic_s
        self._refresh(self._accounts, charged, tariff, now)
        return None

    @every("rate_s")
    def _sum_up(self) -> float | None:
        """Sum up usage of some hours or days that are over."""
        try:
            tariff = charging.read_tariff(self._conf)
            more = rollups.advance(self._store, tariff, self._clock.now())
        except Conflict as error:
            LOG.info("%s: it is tried again", error)
            return None
        return 1.0 if more else None

    # --- charging ---------------------------------------------------------------------------------

    def _charge(
        self, uow: Reading, history: History, tariff: Tariff, now: datetime, monotonic_s: float
    ) -> Charged:
        """Let the time since the last pass fade, and add what was held in it."""
        gone: frozenset[int] = frozenset()
        elapsed_s, since = self._elapsed(history, now, monotonic_s)
        # A period that was just chosen begins now: nobody expects it to clear anything at once.
        last = history.reset_at or now
        reset_at = usage.latest_reset(tariff.reset, last, now, tariff.zone)
        if reset_at is not None:
            LOG.info("usage is cleared: %s, due %s", tariff.reset.value, reset_at.isoformat())
            gone, since = frozenset(history.buckets), max(since, reset_at)
            history = usage.cleared(history, reset_at)
        else:
            kept = None if tariff.reset is ResetPeriod.NONE else last
            history = replace(history, reset_at=kept)
        spans = charging.spans_of(uow.requests.holds_since(since), tariff, since=since, now=now)
        charged = usage.charge(history, spans, tariff.fading, now=now, elapsed_s=elapsed_s)
        return replace(charged, dropped=charged.dropped | gone)

    def _elapsed(
        self, history: History, now: datetime, monotonic_s: float
    ) -> tuple[float, datetime]:
        """Return the seconds since the last pass, and its instant by the clock of now.

        Between two passes of one process the monotonic clock is believed when the wall clock says
        something else: it was set, and nobody held anything any longer for that.
        """
        if history.charged_at is None:
            return 0.0, datetime.min.replace(tzinfo=now.tzinfo)
        elapsed_s = (now - history.charged_at).total_seconds()
        if self._charged_s is not None:
            passed_s = monotonic_s - self._charged_s
            if abs(elapsed_s - passed_s) > CLOCK_STEP_S:
                LOG.warning(
                    "the clock was set by %+.0f s: usage is charged for the %.0f s that passed",
                    elapsed_s - passed_s, passed_s,
                )  # fmt: skip
                elapsed_s = passed_s
        if elapsed_s < 0:
            LOG.warning("the clock is %.0f s behind the last pass: nothing is charged", -elapsed_s)
            elapsed_s = 0.0
        return elapsed_s, now - timedelta(seconds=elapsed_s)

    # --- factors ----------------------------------------------------------------------------------

    def _refresh(self, members: _Accounts, charged: Charged, tariff: Tariff, now: datetime) -> None:
        """Compute the factors if anything they follow from changed, and publish new ones."""
        conf, window, before = self._conf, words.window(tariff.fading), self._standing
        options = (conf.algorithm, conf.ties, conf.dampening, window)
        changed = charged.changed or charged.dropped or isinstance(tariff.fading, usage.Periods)
        same = before is not None and (before.accounts, before.options) == (members, options)
        if same and not changed:
            return
        used, left = usage.amounts_of(charged.history, tariff.fading, now)
        known = members.ids < len(used)
        own = np.zeros(len(members.tree))
        np.add.at(own, members.rows[known], used[members.ids[known]])
        computed = fairshare.compute(
            members.tree,
            own,
            algorithm=Algorithm(conf.algorithm),
            dampening=conf.dampening,
            ties=Ties(conf.ties),
            known=before.computed if before and same else None,
        )
        self._standing = _Standing(
            at=now, accounts=members, options=options, window=window, left=left, computed=computed
        )
        factors = np.zeros(len(members.points))
        factors[members.user_ids] = computed.fairshare[members.user_rows]
        fresh = FactorsChanged(factors, members.points, float(members.points.max(initial=0.0)))
        if self._published is None or not fresh.same_as(self._published):
            self._published = fresh
            self._publish(fresh)

    # --- commands ---------------------------------------------------------------------------------

    @command(answers.usage.SHOW_SHARES)
    def do_shares(self, project_id: str | None = None) -> answers.usage.Shares:
        """Show the share tree with usage, factors and why, as sshare -l does.

        With a project, only its own row and its users', and nothing in them tells of others.
        """
        standing = self._standing
        if standing is None:
            return {"computed_at": None, "shares": []}
        members, computed = standing.accounts, standing.in_tres_seconds()
        ranked = bool(computed.rank.any())
        users = {accounts.user_node(a.association_id): a for a in members.associations if a.active}
        own_only = project_id is not None
        wanted = {accounts.project_node(project_id)} if project_id is not None else set()
        wanted |= {node for node, a in users.items() if a.project_id == project_id}
        rows = []
        for row, node_id in enumerate(members.tree.node_ids):
            if own_only and node_id not in wanted:
                continue
            user = users[node_id].user_name if node_id in users else None
            why = words.standing(
                members.tree, computed, row, members.names, standing.window, own_only=own_only
            )
            rows.append(
                share_json(
                    members.tree, computed, row, user, ranked=ranked, alone=own_only, why=why
                )
            )
        return {"computed_at": instant_json(standing.at), "shares": rows}

    @command(answers.usage.REPORT_USAGE)
    def do_usage(
        self,
        project_id: str | None = None,
        begin: str | None = None,
        end: str | None = None,
        period: str = "none",
        group_by: Sequence[str] = ("project", "quota"),
    ) -> answers.usage.UsageReport:
        """Report resource-hours and their cost, by default of the last 7 days.

        Without a project also what each was promised of the shared quota, and got.
        """
        now = self._clock.now()
        ends_at = min(now, read_instant("end", end)) if end else now
        week = min(timedelta(days=7), ends_at - datetime.min.replace(tzinfo=UTC))  # of year 1, too
        begins_at = read_instant("begin", begin) if begin else ends_at - week
        return reports.usage_report(
            self._store,
            charging.read_tariff(self._conf),
            begin=begins_at,
            end=ends_at,
            group_by=group_by,
            period=period,
            project_id=project_id,
            promised=self._promised() if project_id is None else None,
            settled=self._settled,
        )

    def _promised(self) -> dict[str, float]:
        """Return norm_shares by project, of the whole tree."""
        standing = self._standing
        if standing is None:
            return {}
        tree, norm = standing.accounts.tree, standing.computed.norm_shares
        nodes = {accounts.project_node(a.project_id): a for a in standing.accounts.associations}
        return {
            nodes[node_id].project_id: float(norm[row])
            for row, node_id in enumerate(tree.node_ids)
            if node_id in nodes
        }

    @command(commands.RESET_USAGE)
    def do_reset(self, dry_run: bool = False) -> answers.ends.Reset:
        """Clear all usage now; it cannot be undone. A dry run counts the users."""
        now = self._clock.now()
        with self._store.reading() as uow:
            users = len(
                {one for used in uow.usage.load().buckets.values() for one in used.nonzero()[0]}
            )
        if dry_run:
            return {"reset_at": None, "users": users}
        with self._store.writing() as uow:
            history = uow.usage.load()
            emptied = replace(usage.cleared(history, now), charged_at=now)
            uow.usage.save(Charged(history=emptied, changed={}, dropped=frozenset(history.buckets)))
            uow.commit()
        LOG.warning("usage was cleared by command")
        self._history = self._standing = None
        self.task()
        return {"reset_at": instant_json(now), "users": users}


def _read_accounts(uow: Reading) -> _Accounts:
    """Read the share tree from the store."""
    domains, projects = uow.projects.domains(), uow.projects.all()
    managed = {project.project_id for project in projects}
    every = uow.projects.associations()
    mine = [a for a in every if a.project_id in managed]
    tree = shares.build(accounts.share_nodes(domains, projects, mine))
    row = {node_id: index for index, node_id in enumerate(tree.node_ids)}
    users = [a for a in mine if a.active]
    points = np.zeros(1 + max((a.association_id for a in every), default=0))
    for association_id, value in accounts.priorities(projects, mine).items():
        points[association_id] = value
    named = {accounts.project_node(p.project_id): f"project {p.name}" for p in projects}
    named |= {accounts.domain_node(d.domain_id): f"domain {d.name}" for d in domains}
    named |= {accounts.user_node(a.association_id): a.user_name for a in users}
    return _Accounts(
        tree=tree,
        associations=mine,
        ids=_ints(a.association_id for a in mine),
        rows=_ints(row[accounts.usage_node(a)] for a in mine),
        user_ids=_ints(a.association_id for a in users),
        user_rows=_ints(row[accounts.usage_node(a)] for a in users),
        names=[named.get(node_id, node_id) for node_id in tree.node_ids],
        points=points,
    )


def _ints(numbers: Iterable[int]) -> Ints:
    return np.fromiter(numbers, dtype=np.int64)

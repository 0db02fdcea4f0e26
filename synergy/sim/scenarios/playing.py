"""Plays a scenario on the timeline: the function that decides, and nothing around it; or under
fixed quotas, which reject what does not fit.

Must not print, and must not decide anything.
"""

import heapq
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np

from synergy.core.accounts import project_node, user_node
from synergy.core.model import NOTHING, OnPrivateFull, QuotaKind, RequestClass, Resources, total
from synergy.core.priority import Weights
from synergy.core.quota import QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import Discipline, Policy
from synergy.core.rounds.timeline import Arrival, Timeline
from synergy.sim.fixed_quota import FixedQuotas, split
from synergy.sim.forward import UNWEIGHTED, Usage
from synergy.sim.measures import Outcomes, promised_of
from synergy.sim.scenarios.model import MAX_REQUESTS, Scenario, Submission, Submissions

Progress = Callable[[int, int], None]  # what is done, and of how much


@dataclass(slots=True)
class _Noted:
    """What became of requests, by number."""

    submissions: list[Submission] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    end_s: list[float] = field(default_factory=list)
    refused: list[bool] = field(default_factory=list)

    def add(self, submission: Submission) -> int:
        """Note a request, and return its number."""
        self.submissions.append(submission)
        self.start_s.append(nan)
        self.end_s.append(nan)
        self.refused.append(False)
        return len(self.submissions) - 1

    def start(self, number: int, at_s: float, end_s: float) -> None:
        """Note that a request started."""
        self.start_s[number], self.end_s[number] = at_s, end_s

    def outcomes(self, scenario: Scenario, *, never: bool) -> Outcomes:
        """Return the columns; `never` tells whether what was refused can never fit."""
        projects = tuple(scenario.projects)
        place = {name: number for number, name in enumerate(projects)}
        submit_s = np.array([submission.at_s for submission in self.submissions], dtype=np.float64)
        end_s = np.array(self.end_s, dtype=np.float64)
        holds_s = np.array([scenario.boot_s + submission.held_s for submission in self.submissions])
        refused = np.array(self.refused, dtype=np.bool_)
        wanted_s = np.where(np.isfinite(end_s), end_s, inf)
        wanted_s[refused] = submit_s[refused] if never else (submit_s + holds_s)[refused]
        return Outcomes(
            projects=projects,
            promised=promised_of([one.raw_shares for one in scenario.projects.values()]),
            project=np.array(
                [place[submission.project] for submission in self.submissions], dtype=np.int64
            ),
            vcpus=np.array(
                [submission.demand.get("VCPU", 0) for submission in self.submissions],
                dtype=np.float64,
            ),
            submit_s=submit_s,
            start_s=np.array(self.start_s, dtype=np.float64),
            end_s=end_s,
            wanted_s=wanted_s,
            refused=refused,
            capacity=float(scenario.total.get("VCPU", 0)),
        )


def play(
    scenario: Scenario,
    discipline: str,
    order: str = "multifactor",
    progress: Progress = lambda _done, _of: None,
) -> Outcomes:
    """Play a scenario under a policy, and return what became of the requests."""
    submissions, noted, owners = Submissions(scenario), _Noted(), scenario.owners()
    usage = Usage(owners, _raw_shares(scenario)) if order == "multifactor" else None
    policy = Policy(
        discipline=Discipline(discipline),
        round_size=MAX_REQUESTS,
        weights=Weights() if usage else UNWEIGHTED,
    )
    kinds = _kinds(scenario)

    def arrival(submission: Submission) -> Arrival:
        number = noted.add(submission)
        return Arrival(
            at_s=submission.at_s,
            request_id=str(uuid.UUID(int=number)),
            kind=kinds(submission),
            held_s=scenario.boot_s + submission.held_s,
        )

    timeline = Timeline(
        _tree(scenario),
        policy,
        map(arrival, submissions.arriving()),
        factors=usage,
    )
    for leaving in timeline.run():
        number = uuid.UUID(leaving.request_id).int
        submission, at_s = noted.submissions[number], leaving.at_s
        ended_s = at_s
        if leaving.quota is None:
            noted.refused[number] = True
        else:
            ended_s = at_s + scenario.boot_s + submission.held_s
            noted.start(number, at_s, ended_s)
            if usage and leaving.quota is QuotaKind.SHARED:
                who = owners[submission.project, submission.user]
                usage.use(who, at_s, ended_s, submission.demand.get("VCPU", 0))
        if (following := submissions.after(submission, ended_s)) is not None:
            timeline.submit(arrival(following))
        progress(int(min(at_s, scenario.until_s)), int(scenario.until_s))
    return noted.outcomes(scenario, never=True)


def play_fixed(scenario: Scenario) -> Outcomes:
    """Play a scenario with quotas alone: each project has its own and, of what is shared, the part
    that its shares promise."""
    submissions, noted = Submissions(scenario), _Noted()
    promised = promised_of([one.raw_shares for one in scenario.projects.values()]).tolist()
    parts = split(scenario.shared, dict(zip(scenario.projects, promised, strict=True)))
    fixed = FixedQuotas(
        {name: total([one.quota, parts[name]]) for name, one in scenario.projects.items()}
    )
    again: list[tuple[float, int, Submission]] = []
    for submission in _in_order(submissions.arriving(), again):
        number, holds_s = noted.add(submission), scenario.boot_s + submission.held_s
        ended_s = submission.at_s
        if fixed.admit(submission.project, submission.demand, submission.at_s, holds_s):
            ended_s += holds_s
            noted.start(number, submission.at_s, ended_s)
        else:
            noted.refused[number] = True
        if (following := submissions.after(submission, ended_s)) is not None:
            heapq.heappush(again, (following.at_s, number, following))
    return noted.outcomes(scenario, never=False)


def _in_order(
    arriving: Iterator[Submission], again: list[tuple[float, int, Submission]]
) -> Iterator[Submission]:
    """Yield what arrives and what is asked for again meanwhile, in order."""
    one = next(arriving, None)
    while one is not None or again:
        if one is None or (again and again[0][0] < one.at_s):
            yield heapq.heappop(again)[2]
        else:
            yield one
            one = next(arriving, None)


def _kinds(scenario: Scenario) -> Callable[[Submission], RequestClass]:
    """Return what gives the class of a request; who has a private quota may use that as well."""
    owners, known = scenario.owners(), dict[tuple[str, str, Resources, int], RequestClass]()

    def kind(submission: Submission) -> RequestClass:
        key = submission.project, submission.user, submission.demand, submission.lifetime_s
        if key not in known:
            owns = bool(scenario.projects[submission.project].quota)
            known[key] = RequestClass(
                association_id=owners[submission.project, submission.user],
                demand=submission.demand,
                quota=QuotaKind.PRIVATE if owns else QuotaKind.SHARED,
                on_private_full=OnPrivateFull.SHARED if owns else OnPrivateFull.QUEUE,
                ttl_s=submission.lifetime_s,
            )
        return known[key]

    return kind


def _raw_shares(scenario: Scenario) -> dict[str, int]:
    owners = scenario.owners()
    found = {project_node(name): one.raw_shares for name, one in scenario.projects.items()}
    for (project, user), number in owners.items():
        found[user_node(number)] = scenario.projects[project].users[user]
    return found


def _tree(scenario: Scenario) -> QuotaTree:
    """Return a cloud of one host, and the users below their projects."""
    whole = scenario.total
    nodes = [
        QuotaNode(node_id="root", parent_id=None),
        *(
            QuotaNode(
                node_id=project_node(name), parent_id="root", private=one.quota, lend_limit=NOTHING
            )
            for name, one in scenario.projects.items()
        ),
        *(
            QuotaNode(node_id=user_node(number), parent_id=project_node(project))
            for (project, _), number in scenario.owners().items()
        ),
    ]
    state = QuotaState(total=whole, installed=whole, hosts=(whole,), nodes=tuple(nodes))
    asked = {name for demand in scenario.flavors.values() for name in demand}
    return QuotaTree(state, tuple(sorted({*state.resource_classes(), *asked})))

"""Decides how a request begins: in the queue, or refused with a reason.

Must not know messages, nor the broker they come from.
"""

from oslo_config import cfg

from synergy.core.accounts import user_node
from synergy.core.admission import RequestOptions, class_of, request_options
from synergy.core.editions import same_edition
from synergy.core.errors import InvalidInput
from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import OnPrivateFull, Project, QuotaKind, Request, RequestClass
from synergy.core.never import Ceilings
from synergy.core.quota import QuotaState, QuotaTree
from synergy.core.reasons import Reason, coded
from synergy.managers.queue.limits import Room
from synergy.ports import BuildRequest, Clock, Writing


class Admission:
    """Remembers what was found out about owners and classes.

    newcomers  projects with a user that the present transaction makes known
    """

    def __init__(self, conf: cfg.ConfigOpts.GroupAttr, clock: Clock) -> None:
        self._conf, self._clock = conf, clock
        self._ceilings: Ceilings | None = None
        self._edition: int | None = None  # of the projects that the ceilings follow from
        self._never_why: dict[RequestClass, str] = {}
        self._associations: dict[tuple[str, str], int] = {}
        self.newcomers: set[str] = set()

    def forget(self) -> None:
        """Find out again: projects may have changed, and what is known of their quotas is old. What
        can never fit is queued until the next state of the cloud; a round refuses it then."""
        self._associations.clear()
        self._never_why.clear()
        self._ceilings = None

    def go_by(self, state: QuotaState, edition: int | None) -> None:
        """Judge by this state of the cloud what can never fit, as long as projects are of that
        edition."""
        self._edition = edition
        self._ceilings = Ceilings(QuotaTree(state, state.resource_classes()))
        self._never_why.clear()

    def first_step(self, uow: Writing, build: BuildRequest, project: Project, room: Room) -> Move:
        """Return the first step of a request: into the queue, or refused with a reason."""
        now = self._clock.now()
        reason, why = None, ""
        try:
            asked = request_options(
                project,
                metadata=build.metadata,
                extra_specs=build.extra_specs,
                user_data_quota=build.user_data_quota,
                qos_names=self._conf.qos_names,
            )
        except InvalidInput as error:
            reason, why = Reason.INVALID_REQUEST, coded(Reason.INVALID_REQUEST, str(error))
            asked = RequestOptions(
                quota=QuotaKind.SHARED,
                on_private_full=OnPrivateFull.REJECT,
                ttl_s=project.ttl_s,
            )
        kind = class_of(asked, self._association_id(uow, build), build.demand, build.constraints)
        if reason is None and (never := self._never(uow, kind)):
            reason, why = Reason.NEVER_FITS, coded(Reason.NEVER_FITS, never)
        if reason is None and (full := room.why_none(project, build.user_id)):
            reason, why = full
        request = Request(
            request_id=build.server_id,
            class_id=uow.requests.class_id(kind),
            request_class=kind,
            project_id=project.project_id,
            user_id=build.user_id,
            server_name=build.server_name,
            flavor=build.flavor,
            batch_id=build.batch_id,
            queued_at=now,
            changed_at=now,
            ttl_s=asked.ttl_s,
        )
        if reason is not None:
            return transition(request, Event.REFUSED, now, why=why, reason=reason)
        room.add(project.project_id, build.user_id)
        return transition(request, Event.ADMITTED, now)

    def _association_id(self, uow: Writing, build: BuildRequest) -> int:
        """Return the (project, user) leaf; one that this transaction makes is not remembered, as
        it may roll back."""
        owner = (build.project_id, build.user_id)
        if owner not in self._associations:
            self._associations |= {
                (a.project_id, a.user_id): a.association_id
                for a in uow.projects.associations()
                if a.active
            }
        if owner in self._associations:
            return self._associations[owner]
        self.newcomers.add(build.project_id)
        return uow.projects.association(*owner, build.user_name).association_id

    def _never(self, uow: Writing, kind: RequestClass) -> str:
        """Return why the class can never fit, "" if it may or nothing is known yet."""
        known = same_edition(self._edition, uow.projects.edition())
        if self._ceilings is None or not known:
            return ""
        if kind not in self._never_why:
            self._never_why[kind] = self._ceilings.why(user_node(kind.association_id), kind)
        return self._never_why[kind]

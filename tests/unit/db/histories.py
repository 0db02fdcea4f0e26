"""Random histories of servers, with the spans in which each held quota written down beside."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from synergy.core.lifecycle import Event, transition
from synergy.core.model import QuotaKind, Request, RequestClass, State
from synergy.db.store import SqlStore
from tests.builders import NOON, kind, request, rid


@dataclass(frozen=True)
class Claim:
    project_id: str
    user_id: str
    kind: RequestClass
    host: str
    begin: datetime
    end: datetime | None

    def hours(self, begin: datetime, end: datetime) -> float:
        until = min(end, self.end or end)
        return max(0.0, (until - max(begin, self.begin)).total_seconds() / 3600)


class Histories:
    """Lets servers live in a store."""

    def __init__(
        self,
        store: SqlStore,
        seed: int = 1,
        users: Sequence[str] = ("ua", "ub"),
        projects: Sequence[str] = ("p", "q"),
    ) -> None:
        self.store, self.rng, self.number = store, random.Random(seed), 0
        self.claims: list[Claim] = []
        self.owners = [(project, user) for project in projects for user in users]
        with store.writing() as uow:
            self.associations = {
                owner: uow.projects.association(*owner, owner[1]).association_id
                for owner in self.owners
            }
            uow.commit()

    def live(self, begin: datetime, end: datetime, *, open_ratio: float = 0.2) -> Request:
        """Let one server live between two instants: parked, resized and deleted by chance."""
        rng = self.rng
        owner = rng.choice(self.owners)
        one = kind(
            rng.choice([1, 2, 4]), association=self.associations[owner],
            quota=rng.choice(list(QuotaKind)), qos=rng.choice(["normal", "urgent"]),
        )  # fmt: skip
        at = begin + (end - begin) * rng.random() * 0.8
        current = self._arrive(owner, one, at)
        host = rng.choice(["h1", "h2"])
        current = self._move(current, Event.SELECTED, at)
        since, current = at, self._move(current, Event.HANDED_OVER, at)
        current = self._move(replace(current, host=host), Event.BOOTED, at)
        for _ in range(rng.randrange(3)):
            step = timedelta(seconds=rng.randrange(1, 200_000), microseconds=rng.randrange(10**6))
            at = min(at + step, end)
            self.claims.append(Claim(*owner, current.request_class, host, since, at))
            if rng.random() < 0.5:
                current = self._move(current, Event.SHELVED, at)
                at = min(at + timedelta(seconds=rng.randrange(90_000)), end)
                current = self._move(current, Event.UNSHELVED, at)
            else:
                current = self._resize(current, kind(
                    rng.choice([1, 3]), association=one.association_id, quota=one.quota, qos=one.qos
                ), at)  # fmt: skip
            since = at
        if rng.random() < open_ratio:
            self.claims.append(Claim(*owner, current.request_class, host, since, None))
            return current
        at = min(at + timedelta(seconds=rng.randrange(200_000)), end)
        self.claims.append(Claim(*owner, current.request_class, host, since, at))
        return self._move(current, Event.REMOVED, at)

    def many(self, count: int, at: datetime) -> None:
        """Let many requests of one user be cancelled, in one transaction."""
        owner = self.owners[0]
        one = kind(association=self.associations[owner])
        with self.store.writing() as uow:
            first = request(
                request_class=one, class_id=uow.requests.class_id(one), project_id=owner[0],
                user_id=owner[1], queued_at=at, changed_at=at,
            )  # fmt: skip
            every = [replace(first, request_id=rid(self.number + n + 1)) for n in range(count)]
            uow.requests.add([(transition(each, Event.ADMITTED, at), b"") for each in every])
            ids = [each.request_id for each in every]
            moves = [transition(r, Event.CANCELLED, at) for r in uow.requests.find(ids).values()]
            uow.requests.save(moves)
            uow.requests.forget_bodies(ids)
            uow.commit()
        self.number += count

    def _arrive(self, owner: tuple[str, str], one: RequestClass, at: datetime) -> Request:
        self.number += 1
        with self.store.writing() as uow:
            made = request(
                self.number, request_class=one, class_id=uow.requests.class_id(one), queued_at=at,
                project_id=owner[0], user_id=owner[1], server_name=f"s{self.number % 7}",
                flavor=f"f{self.number % 3}", batch_id=f"b{self.number % 5}", changed_at=at,
            )  # fmt: skip
            move = transition(made, Event.ADMITTED, at)
            uow.requests.add([(move, b"body")])
            uow.commit()
        return move.request

    def _move(self, current: Request, event: Event, at: datetime) -> Request:
        with self.store.writing() as uow:
            move = transition(current, event, at)
            uow.requests.save([move])
            uow.requests.forget_bodies([current.request_id])
            uow.commit()
        return move.as_saved()

    def _resize(self, current: Request, other: RequestClass, at: datetime) -> Request:
        with self.store.writing() as uow:
            changed = replace(current, request_class=other, class_id=uow.requests.class_id(other))
            move = transition(changed, Event.RESIZED, at)
            uow.requests.save([move])
            uow.commit()
        return move.as_saved()

    def wait(self, state: State = State.QUEUED, at: datetime = NOON) -> Request:
        """Let one request arrive and stay."""
        owner = self.rng.choice(self.owners)
        return self._arrive(owner, kind(association=self.associations[owner]), at)


__all__ = ["Claim", "Histories", "rid"]

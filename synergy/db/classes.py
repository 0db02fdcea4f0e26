"""Request classes: rows that never change, so that reading one once is enough."""

import hashlib
import json
import threading

from sqlalchemy import Connection, insert, select

from synergy.core.model import RequestClass
from synergy.db.models import ClassRow


class ClassCache:
    """The classes that this process has seen in committed or still open transactions."""

    def __init__(self) -> None:
        self._by_id: dict[int, RequestClass] = {}
        self._id_of: dict[RequestClass, int] = {}
        self._lock = threading.Lock()

    def get(self, connection: Connection, class_id: int) -> RequestClass:
        """Return a class that a row refers to."""
        found = self._by_id.get(class_id)
        if found is None:
            self.load(connection)
            found = self._by_id[class_id]
        return found

    def load(self, connection: Connection) -> None:
        """Read the classes that are not known yet."""
        newest = max(self._by_id, default=0)
        rows = connection.execute(
            select(
                ClassRow.class_id,
                ClassRow.association_id,
                ClassRow.demand,
                ClassRow.quota,
                ClassRow.on_private_full,
                ClassRow.qos,
                ClassRow.nice,
                ClassRow.ttl_s,
                ClassRow.constraints,
            ).where(ClassRow.class_id > newest)
        )
        with self._lock:
            for row in rows:
                self._by_id[row.class_id] = RequestClass(
                    association_id=row.association_id,
                    demand=row.demand,
                    quota=row.quota,
                    on_private_full=row.on_private_full,
                    qos=row.qos,
                    nice=row.nice,
                    ttl_s=row.ttl_s,
                    constraints=tuple((name, value) for name, value in row.constraints),
                )

    def id_of(self, connection: Connection, request_class: RequestClass) -> int:
        """Return the id of a class, writing it on first sight.

        Only ids that were read back are remembered: one that this transaction gives is forgotten
        if it rolls back.
        """
        known = self._id_of.get(request_class)
        if known is not None:
            return known
        digest = _digest(request_class)
        query = select(ClassRow.class_id).where(ClassRow.digest == digest)
        found = connection.execute(query).scalar_one_or_none()
        if found is not None:
            with self._lock:
                self._id_of[request_class] = found
            return found
        connection.execute(
            insert(ClassRow).values(
                digest=digest,
                association_id=request_class.association_id,
                demand=request_class.demand,
                quota=request_class.quota,
                on_private_full=request_class.on_private_full,
                qos=request_class.qos,
                nice=request_class.nice,
                ttl_s=request_class.ttl_s,
                constraints=[list(pair) for pair in request_class.constraints],
            )
        )
        return connection.execute(query).scalar_one()


def _digest(request_class: RequestClass) -> str:
    parts = [
        request_class.association_id,
        request_class.demand.amounts,
        request_class.quota,
        request_class.on_private_full,
        request_class.qos,
        request_class.nice,
        request_class.ttl_s,
        request_class.constraints,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

"""Request classes: rows that never change, so that reading one once is enough."""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from typing import Final

from sqlalchemy import Connection, insert, select

from synergy.core.model import RequestClass
from synergy.db.columns import Values
from synergy.db.models import ClassRow
from synergy.db.rows import Damaged, DamageLog, RowReader

_CHUNK: Final = 500
_FIELDS: Final = tuple(one.name for one in fields(RequestClass))
_NAMES: Final = ("class_id", *_FIELDS)
_COLUMNS: Final = tuple(getattr(ClassRow, name) for name in _NAMES)
# What the first digests were made of, in this order: it must not change, or every class that is
# stored gets a second row. A later field is in a digest only where it is not as by default.
_DIGESTED: Final = (
    "association_id", "demand", "quota", "on_private_full", "qos", "nice", "ttl_s", "constraints",
)  # fmt: skip
_LATER: Final = tuple(one for one in fields(RequestClass) if one.name not in _DIGESTED)


def _class_of(row: Values) -> tuple[int, RequestClass]:
    values = dict(zip(_NAMES, row, strict=True))
    class_id = values.pop("class_id")
    pairs = values.pop("constraints")
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise Damaged("constraints is no list of pairs of texts")
    constraints = tuple((name, value) for name, value in pairs)
    return class_id, RequestClass(**values, constraints=constraints)


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


_READER: Final = RowReader(_COLUMNS, _class_of)


class ClassCache:
    """The classes that this process has seen in committed transactions, and only those."""

    def __init__(self) -> None:
        self.by_id: dict[int, RequestClass] = {}
        self.id_of: dict[RequestClass, int] = {}
        self._lock = threading.Lock()

    def remember(self, classes: Mapping[int, RequestClass]) -> None:
        """Add classes that are committed."""
        with self._lock:
            for class_id, request_class in classes.items():
                self.by_id[class_id] = request_class
                self.id_of[request_class] = class_id

    def forget(self) -> None:
        """Read all classes again: one that was known may be gone."""
        with self._lock:
            self.by_id, self.id_of = {}, {}


class Classes:
    """The classes as one transaction sees them; what it wrote itself is remembered by others only
    once it is committed, since a number that rolls back is given to another class."""

    def __init__(self, connection: Connection, cache: ClassCache, damage: DamageLog) -> None:
        self._connection, self._cache, self._damage = connection, cache, damage
        self._own: dict[int, RequestClass] = {}  # written here, or read since then
        self._own_ids: dict[RequestClass, int] = {}
        self._wrote = False

    def committed(self) -> None:
        """Let others know what this transaction wrote."""
        self._cache.remember(self._own)
        self._own, self._own_ids, self._wrote = {}, {}, False

    def forget(self) -> None:
        """Let nobody use the number of a class that may go without looking it up."""
        self._cache.forget()

    def get(self, class_id: int) -> RequestClass:
        """Return a class that a row refers to. Raises Damaged."""
        if (found := self.known(class_id)) is None:
            self._fetch([class_id])
            found = self.known(class_id)
        if found is None:
            raise Damaged(f"its class {ascii(class_id)[:40]} is missing or damaged")
        return found

    def known(self, class_id: int) -> RequestClass | None:
        """Return a class that was read before."""
        return self._own.get(class_id) or self._cache.by_id.get(class_id)

    def read_ahead(self, class_ids: Set[object]) -> None:
        """Read what rows refer to in few statements, where `get` would take one for each."""
        unknown = (one for one in class_ids if isinstance(one, int) and self.known(one) is None)
        self._fetch(sorted(unknown))

    def load(self) -> None:
        """Read the classes that are not known yet. Their numbers may be committed in any order."""
        ids = self._connection.scalars(select(ClassRow.class_id)).all()
        self._fetch([one for one in ids if self.known(one) is None])

    def _fetch(self, class_ids: Sequence[int]) -> None:
        query = select(*_COLUMNS)
        for start in range(0, len(class_ids), _CHUNK):
            part = class_ids[start : start + _CHUNK]
            rows = self._connection.execute(query.where(ClassRow.class_id.in_(part))).all()
            found = dict(_READER.all(rows, self._damage))
            if self._wrote:
                self._own |= found
            else:
                self._cache.remember(found)

    def id_of(self, request_class: RequestClass) -> int:
        """Return the id of a class, writing it on first sight."""
        known = self._cache.id_of.get(request_class) or self._own_ids.get(request_class)
        if known is not None:
            return known
        digest = _digest(request_class)
        query = select(ClassRow.class_id).where(ClassRow.digest == digest)
        found = self._connection.execute(query).scalar_one_or_none()
        if found is None:
            values = {name: getattr(request_class, name) for name in _FIELDS}
            values["constraints"] = [list(pair) for pair in request_class.constraints]
            self._connection.execute(insert(ClassRow).values(digest=digest, **values))
            found = self._connection.execute(query).scalar_one()
            self._wrote = True
        self._own[found], self._own_ids[request_class] = request_class, found
        return found


def _digest(request_class: RequestClass) -> str:
    values = {name: getattr(request_class, name) for name in _FIELDS}
    values["demand"] = request_class.demand.amounts
    parts: list[object] = [values[name] for name in _DIGESTED]
    parts += [[one.name, values[one.name]] for one in _LATER if values[one.name] != one.default]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

"""Seals what is stored with a new key, beside a service that goes on storing and deleting.

Why: a key is changed while messages are sealed with the old one. Every table with a column `sealed`
takes part, whatever it keeps. A row that changed since it was read is left to the process that
changed it, so nobody has to stop; and a kill at any step leaves every row sealed with a key that
the file still has. Must not know what the messages mean, nor the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import CursorResult, Engine, Table, select, update

from synergy.core.errors import SealBroken
from synergy.db.engine import READS, translated
from synergy.db.models import Base
from synergy.db.vault import Vault

_PAGE: Final = 200  # rows of one transaction: others write in between
SEALED_TABLES: Final[tuple[Table, ...]] = tuple(
    table for table in Base.metadata.sorted_tables if "sealed" in table.c
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """How many stored messages are sealed by which key.

    newest      open with the first key alone
    older       need another key of the file
    unreadable  open with no key of the file
    """

    newest: int = 0
    older: int = 0
    unreadable: int = 0


def count_sealed(engine: Engine, vault: Vault) -> Sealed:
    """Count the stored messages by the key that they need. Raises StoreUnavailable."""
    newest = older = unreadable = 0
    for table in SEALED_TABLES:
        for _, sealed in _rows(engine, table):
            if vault.sealed_by_newest(sealed):
                newest += 1
            elif _opens(vault, sealed):
                older += 1
            else:
                unreadable += 1
    return Sealed(newest=newest, older=older, unreadable=unreadable)


def opens_any(engine: Engine, vault: Vault) -> bool:
    """Return whether the keys open what is stored, from the first rows of each table.

    True when nothing is stored, and when only some of it opens. Raises StoreUnavailable.
    """
    tried = False
    for table in SEALED_TABLES:
        for _, sealed in next(_pages(engine, table), []):
            if _opens(vault, sealed):
                return True
            tried = True
    return not tried


def reseal(engine: Engine, vault: Vault) -> int:
    """Seal with the first key whatever needs another, and return how many messages that were.

    What no key opens is left as it is. Raises StoreUnavailable.
    """
    count = 0
    for table in SEALED_TABLES:
        key = _key(table)
        for page in _pages(engine, table):
            old = [(found, sealed) for found, sealed in page if not vault.sealed_by_newest(sealed)]
            with translated(), engine.begin() as connection:
                for found, sealed in old:
                    if not _opens(vault, sealed):
                        continue
                    unchanged = update(table).where(key == found, table.c.sealed == sealed)
                    done = connection.execute(unchanged.values(sealed=vault.reseal(sealed)))
                    count += cast(CursorResult[Any], done).rowcount
    return count


def _opens(vault: Vault, sealed: bytes) -> bool:
    try:
        vault.open(sealed)
    except SealBroken:
        return False
    return True


def _key(table: Table) -> Any:
    (key,) = table.primary_key.columns
    return key


def _rows(engine: Engine, table: Table) -> Iterator[tuple[Any, bytes]]:
    for page in _pages(engine, table):
        yield from page


def _pages(engine: Engine, table: Table) -> Iterator[list[tuple[Any, bytes]]]:
    """Walk a table by its key, one short reading transaction a page."""
    key, last = _key(table), None
    while True:
        wanted = select(key, table.c.sealed).order_by(key).limit(_PAGE)
        if last is not None:
            wanted = wanted.where(key > last)
        with translated(), engine.connect() as connection:
            connection = connection.execution_options(**{READS: True})
            page = [(row[0], row[1]) for row in connection.execute(wanted)]
        if not page:
            return
        last = page[-1][0]
        yield page

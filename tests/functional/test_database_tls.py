"""The parameters of TLS in the URL of the database reach its driver: a real MariaDB and a real
PostgreSQL that take nothing else, with a certificate that nobody else vouches for."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine

from synergy.core.errors import StoreUnavailable
from synergy.db import engine as database
from tests import databases
from tests.unit.db.test_store import conf_for
from tests.unit.drivers.test_address import certificate

Server = Callable[[Path, Path, Path], AbstractContextManager[str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of database: how it is started, and how its URL asks for TLS and whom to believe.

    used     asks the connection whether it is encrypted
    refused  what the server says to a connection that is not
    """

    start: Server
    verified: str
    plain: str
    used: str
    refused: str


KINDS = {
    "mariadb": Kind(
        databases.mariadb,
        "?ssl_ca={ca}",
        "?ssl_disabled=true",
        "SELECT variable_value <> '' FROM information_schema.session_status "
        "WHERE variable_name = 'Ssl_cipher'",
        "Access denied",
    ),
    "postgresql": Kind(
        databases.postgresql,
        "?sslmode=verify-full&sslrootcert={ca}",
        "?sslmode=disable",
        "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        "no encryption",
    ),
}


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs: the URL of a database on localhost, and its certificate."""

    kind: Kind
    url: str
    cert: Path

    def engine(self, query: str, host: str = "localhost") -> Engine:
        url = self.url.replace("localhost", host) + query
        return database.open_engine(conf_for("", connection=url))


@pytest.fixture(scope="module", params=sorted(KINDS))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param)
    cert, secret = certificate(tmp_path_factory.mktemp("certificate"), "localhost")
    kind = KINDS[request.param]
    with kind.start(folder, cert, secret) as url:
        yield Served(kind, url, cert)


def refusal_of(engine: Engine) -> str:
    with pytest.raises(StoreUnavailable) as raised:
        database.revision(engine)
    engine.dispose()
    assert "secret" not in str(raised.value)
    return str(raised.value)


def test_tables_are_made_over_tls(served: Served) -> None:
    engine = served.engine(served.kind.verified.format(ca=served.cert))
    assert database.upgrade(engine) == database.check(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(served.kind.used).scalar_one()
    engine.dispose()


def test_without_tls_the_server_refuses_and_that_is_told(served: Served) -> None:
    assert served.kind.refused in refusal_of(served.engine(served.kind.plain))


def test_a_certificate_that_nobody_vouches_for_is_not_believed(
    served: Served, tmp_path: Path
) -> None:
    other, _ = certificate(tmp_path, "localhost")
    told = refusal_of(served.engine(served.kind.verified.format(ca=other)))
    assert "certificate verify failed" in told.lower()


def test_a_certificate_of_another_host_is_not_believed(served: Served) -> None:
    query = served.kind.verified.format(ca=served.cert)
    told = refusal_of(served.engine(query, host="127.0.0.1"))
    assert "127.0.0.1" in told

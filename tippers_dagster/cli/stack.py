"""`tippers up`, `doctor`, `dagster`, `env` and `code-server`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import typer

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.redaction import redact
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
    """Start the app, Dagster, and the embedded database and MLflow if they are used.

    Prints the addresses, restarts services that stop working, and stops everything on Ctrl-C.
    """
    from tippers_dagster.stack.supervisor import run_stack

    run_stack(get_settings(), lambda line: print(line, flush=True))


def doctor(
    only_code_server: bool = typer.Option(
        False, "--code-server", help="Only check that the code server works, for health checks."
    ),
) -> None:
    """Check the deployment, and say how to fix problems.

    Exits with status 1 if there is a problem. Prints no secrets.
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
    """Run Dagster's command line (``tippers dagster run list``) in this deployment."""
    from tippers_dagster.platform.dagster.environment import dagster_environment

    environment = {**os.environ, **dagster_environment(get_settings())}
    # A subprocess, as this process keeps the embedded database running meanwhile.
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *context.args], env=environment, check=False
    )
    raise typer.Exit(done.returncode)


def env() -> None:
    """Print the environment of Dagster's processes as ``export`` lines: eval "$(tippers env)".

    Variables with a password are left out, and named in a comment.

    The embedded database runs only while `tippers up` or another command is running.
    """
    from tippers_dagster.platform.dagster.environment import dagster_environment

    environment = dagster_environment(get_settings())
    print("umask 077  # files are readable by their owner only")
    for name, value in environment.items():
        if redact(value) != value:
            print(f"# {name} is not printed, as it contains a password: set it yourself")
        else:
            print(f"export {name}={shlex.quote(value)}")


def code_server(
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    module: str = typer.Option(
        "tippers_dagster.definitions", help="Module with the Dagster definitions."
    ),
) -> None:
    """Serve the definitions to Dagster and execute its runs; started by `tippers up`.

    First marks unfinished runs of a killed code server as failed. A deployment has one code server.
    """
    from tippers_dagster.automation.orphaned_runs import fail_orphaned_runs
    from tippers_dagster.platform.dagster.environment import dagster_environment
    from tippers_dagster.stack.services import port_taken

    settings = get_settings()
    if port_taken(settings.code_server_port):
        raise TippersError(
            f"Port {settings.code_server_port} is taken, maybe by another code server.",
            "Stop it, or set TIPPERS_CODE_SERVER_PORT to a free port.",
        )
    for run_id in fail_orphaned_runs(settings, "The code server of this run was killed."):
        print(f"Run {run_id} of an earlier code server is marked as failed.", flush=True)
    command = [sys.executable, "-m", "tippers_dagster.stack.code_server", module]
    command += ["-h", host, "-p", str(settings.code_server_port), "--location-name", "tippers"]
    # Runs use this Python, not the first one on the PATH.
    command.append("--use-python-environment-entry-point")
    os.execve(sys.executable, command, {**os.environ, **dagster_environment(settings)})

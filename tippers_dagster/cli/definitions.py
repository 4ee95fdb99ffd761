"""``tippers definitions``: concepts, indexes, rules, labelling functions and other definitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from tippers_dagster.catalog.catalog import Catalog
    from tippers_dagster.catalog.model import Definition, Draft, Ref
    from tippers_dagster.catalog.rows import Version
    from tippers_dagster.catalog.store import Outcome
    from tippers_dagster.catalog.validate import Checks
    from tippers_dagster.graph.reload import Reloaded

Written = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="concept.name, such as device.always_on; or concept.device, connection.name, "
        "dataset.name.",
        show_default=False,
    ),
]
By = Annotated[str | None, typer.Option(help="Author of the change; default: you.")]
Expected = Annotated[
    int | None,
    typer.Option("--from-version", help="Refuse if the current version is another one.", min=0),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    definitions = typer.Typer(
        name="definitions",
        no_args_is_help=True,
        help="Concepts, indexes, rules, label models and other definitions.",
    )
    for command in (show, validate, export, save, retire, activate, delete, rename, restore):
        definitions.command(command.__name__)(command)
    definitions.command("list")(list_all)
    definitions.command("import")(import_)
    app.add_typer(definitions)


# --- showing -------------------------------------------------------------------------------------
def list_all(
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    concept: Annotated[str | None, typer.Option(help="Only this concept.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also retired ones.")] = False,
) -> None:
    """List definitions by concept and name."""
    from tippers_dagster.catalog import store
    from tippers_dagster.platform.terminal import table_console

    settings = get_settings()
    found = store.list_definitions(settings, kind=kind, concept=concept, retired=every)
    catalog = store.load_catalog(settings)
    if found:
        console = table_console()
        console.print(_table(found, catalog, console.width))
    else:
        typer.echo("No definition found; `tippers definitions list --all` also shows retired ones.")
    for place, reason in catalog.unusable.items():
        typer.secho(f"{place}: {reason}", fg="yellow")
    broken = sum(1 for d in found if d.ref in catalog.problems)
    if broken:
        typer.secho(
            f"Cannot work: {broken}. `tippers definitions validate` shows why.", fg="yellow"
        )


def show(
    name: Written,
    version: Annotated[int | None, typer.Option(help="Show this version.")] = None,
    history: Annotated[bool, typer.Option("--history", help="List its versions.")] = False,
) -> None:
    """Show a definition, what it reads and what uses it."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = store.find(settings, name)
    if history:
        _show_history(ref, store.history(settings, ref))
    elif version is not None:
        typer.echo(_text(store.version(settings, ref, version)), nl=False)
    else:
        _show(store.load_catalog(settings), store.get(settings, ref))


def validate(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FOLDER|FILE]", help="Default: all definitions."),
    ] = None,
) -> None:
    """Check definitions, or files before they are imported."""
    from tippers_dagster.catalog import files, store
    from tippers_dagster.catalog.catalog import draft_of

    settings = get_settings()
    catalog = store.load_catalog(settings)
    wrong: dict[str, str] = {}
    if what is None:
        checked = [draft_of(d) for d in catalog.definitions.values()]
        wrong = dict(catalog.unusable)
    elif files.exists(Path(what)):
        checked = files.read_path(Path(what))
        catalog = catalog.with_drafts(catalog.changed(checked))
    else:
        checked = [draft_of(store.get(settings, store.find(settings, what)))]
    wrong |= _problems(checked, catalog)
    roots = {str(ref): str(catalog.root(ref)) for ref in catalog.problems}
    for place, reason in wrong.items():
        if roots.get(place, place) == place or roots[place] not in wrong:
            typer.secho(f"{place}: {reason}", fg="red")
    if wrong:
        typer.echo(f"Cannot work: {len(wrong)} of {len(checked)}.")
        raise typer.Exit(1)
    typer.echo(f"Checked: {len(checked)}; no problems found.")


# --- files ---------------------------------------------------------------------------------------
def export(
    folder: Annotated[Path, typer.Argument(help="Created if missing.", file_okay=False)],
    git: Annotated[bool, typer.Option("--git", help="Also those in the project's files.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove files of definitions that are not exported.")
    ] = False,
) -> None:
    """Write saved definitions to a folder of YAML, SQL and Python files, without passwords."""
    from tippers_dagster.catalog import files, store
    from tippers_dagster.catalog.model import Unreadable

    found = [
        d
        for d in store.list_definitions(get_settings(), retired=True)
        if git or d.origin == "catalog"
    ]
    readable = [d for d in found if not isinstance(d.body, Unreadable)]
    done = files.export(folder, readable, prune=prune)
    typer.echo(
        f"{counted(len(readable), 'definition')} in {folder}: "
        f"{counted(len(done.written), 'file')} written, {len(done.unchanged)} unchanged."
    )
    for path in done.left_over:
        typer.echo(f"{path}: {'removed' if prune else 'not exported now (--prune removes it)'}")
    for d in found:
        if d not in readable:
            typer.secho(f"{d.ref} cannot be read and was skipped.", fg="yellow")
    if not found and not git:
        typer.echo(
            "Nothing is saved yet; --git also exports the definitions in the project's files."
        )


def import_(
    folder: Annotated[Path, typer.Argument(help="A folder as exported.", file_okay=False)],
    by: By = None,
) -> None:
    """Save all definitions in a folder, or none if one of them cannot work."""
    outcomes, reloaded = _import(folder, _who(by))
    _follow(ref for ref, outcome in outcomes.items() if outcome != "unchanged")
    for outcome in ("created", "changed"):
        for ref, found in outcomes.items():
            if found == outcome:
                typer.echo(f"{outcome:<8} {ref}")
    unchanged = list(outcomes.values()).count("unchanged")
    typer.echo(f"{counted(len(outcomes), 'definition')}, {unchanged} unchanged.")
    _report_reload(reloaded)


def save(
    file: Annotated[Path, typer.Argument(help="A YAML file from `show` or `export`.")],
    expected: Expected = None,
    by: By = None,
) -> None:
    """Save one definition."""
    from tippers_dagster.catalog import files

    saved, reloaded = _save(files.read_file(file), _who(by), expected)
    _follow([saved.ref])
    _report(saved, "is saved", reloaded)


# --- changing ------------------------------------------------------------------------------------
def retire(name: Written, expected: Expected = None, by: By = None) -> None:
    """Retire a definition; it keeps its name and history, and can be activated again."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = _no_connection(store.find(settings, name))
    users = store.load_catalog(settings).users(ref)
    done = store.retire(settings, ref, by=_who(by), expected_version=expected)
    _report(done, "is retired", _reload())
    if users:
        typer.secho(
            f"Definitions that use it and cannot work now: {', '.join(map(str, users))}",
            fg="yellow",
        )


def activate(name: Written, expected: Expected = None, by: By = None) -> None:
    """Activate a retired definition."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = store.find(settings, name)
    done = store.activate(settings, ref, by=_who(by), expected_version=expected, checks=_checks())
    _follow([ref])
    _report(done, "is active", _reload())


def delete(name: Written, expected: Expected = None, by: By = None) -> None:
    """Delete a saved definition that nobody uses. Its history stays."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = _no_connection(store.find(settings, name))
    store.delete(settings, ref, by=_who(by), expected_version=expected)
    back = store.load_catalog(settings).definitions.get(ref)
    typer.echo(f"{ref} is deleted; `tippers definitions restore {ref} N` restores a version.")
    if back is not None:
        typer.echo("The definition in the project's files is used again.")
    _report_reload(_reload())


def rename(
    name: Written, to: Annotated[str, typer.Argument(help="The new name.")], by: By = None
) -> None:
    """Rename a definition that nobody uses, within its concept."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = _no_connection(store.find(settings, name))
    done = store.rename(settings, ref, to, by=_who(by))
    _report(done, "is its new name", _reload())


def restore(
    name: Written,
    version: Annotated[int, typer.Argument(help="Version number, as in `show --history`.")],
    expected: Expected = None,
    by: By = None,
) -> None:
    """Save an earlier version of a definition as the newest."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = store.find(settings, name)
    done = store.restore(
        settings, ref, version, by=_who(by), expected_version=expected, checks=_checks()
    )
    _follow([ref])
    _report(done, f"is restored from version {version}", _reload())


# --- output --------------------------------------------------------------------------------------
def _table(found: Sequence[Definition], catalog: Catalog, width: int) -> Table:
    """One line each; the description is cut to fit into ``width`` characters."""
    from rich import box
    from rich.table import Table

    rows = [
        (str(d.ref), d.ref.kind.in_words, _state(d, catalog), _version(d), d.owner) for d in found
    ]
    heads = ("name", "kind", "state", "version", "owner")
    taken = sum(max(map(len, column)) + 1 for column in zip(heads, *rows, strict=True))
    room = max(20, width - taken - 2 * len(heads))
    table = Table(*heads, "description", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.columns[0].overflow = "fold"  # a truncated name cannot be copied
    for row, d in zip(rows, found, strict=True):
        text = " ".join(d.description.split())
        text = text if len(text) <= room else f"{text[: room - 1]}…"
        table.add_row(*row, text)
    return table


def _state(d: Definition, catalog: Catalog) -> str:
    if d.status == "retired":
        return "retired"
    return "cannot work" if d.ref in catalog.problems else "active"


def _version(d: Definition) -> str:
    return "files" if d.origin == "git" else str(d.version)


def _show(catalog: Catalog, d: Definition) -> None:
    facts: dict[str, object] = {"name": d.ref, "state": _state(d, catalog), "version": _version(d)}
    if d.updated_at is not None:
        facts["changed"] = f"{d.updated_at:%Y-%m-%d %H:%M} UTC by {d.updated_by}"
    if d.ref in catalog.shadowed:
        facts["replaces"] = "the definition in the project's files"
    facts["reads"] = ", ".join(map(str, catalog.dependencies(d.ref))) or "no other definition"
    facts["used by"] = ", ".join(map(str, catalog.users(d.ref))) or "no definition"
    if d.ref in catalog.problems:
        facts["cannot work"] = catalog.problems[d.ref]
    for label, value in facts.items():
        typer.echo(f"# {label:<15}{value}")
    typer.echo(_text(d), nl=False)


def _text(given: Definition | Version) -> str:
    """The YAML text of a definition; the stored fields if it cannot be read."""
    import json

    from tippers_dagster.catalog import files
    from tippers_dagster.catalog.model import Draft, Unreadable
    from tippers_dagster.catalog.names import read_body
    from tippers_dagster.catalog.rows import Version
    from tippers_dagster.errors import BadInput

    if isinstance(given, Version):
        try:
            body = read_body(given.ref.kind, given.body)
        except BadInput:
            body = Unreadable(reason="", raw=dict(given.body))
    else:
        body = given.body
    if isinstance(body, Unreadable):
        raw = {k: v for k, v in body.raw.items() if k not in files.SECRET_FIELDS}
        return json.dumps(raw, indent=2, ensure_ascii=False) + "\n"
    return files.document(Draft(given.ref, body, given.description, given.owner, given.status))


def _show_history(ref: Ref, versions: list[Version]) -> None:
    from rich.table import Table

    from tippers_dagster.catalog.store import changed_fields
    from tippers_dagster.platform.terminal import table_console

    if not versions:
        typer.echo(f"{ref} is in the project's files; its history is in git.")
        return
    table = Table("version", "when (UTC)", "who", "what", "changed")
    for new, old in zip(versions, [*versions[1:], None], strict=True):
        fields = ", ".join(changed_fields(old, new)) if old else ""
        cells = (new.version, f"{new.changed_at:%Y-%m-%d %H:%M:%S}", new.changed_by, new.action)
        table.add_row(*map(str, cells), fields)
    table_console().print(table)


def _report(done: Definition, what: str, reloaded: Reloaded) -> None:
    typer.echo(f"{done.ref} {what} (version {_version(done)}).")
    _report_reload(reloaded)


def _report_reload(reloaded: Reloaded) -> None:
    typer.echo(reloaded.message)


def _who(by: str | None) -> str:
    return by or machine_user() or "unknown"


# --- the services --------------------------------------------------------------------------------
def _problems(drafts: Iterable[Draft], catalog: Catalog) -> dict[str, str]:
    """Problems by name. ``catalog`` contains the drafts."""
    from tippers_dagster.catalog.validate import problems_of

    # The SQL in the project's files is not user SQL: dbt itself checks it.
    deep = {ref for ref, d in catalog.definitions.items() if d.origin == "catalog"}
    return {
        str(problem.ref): " ".join(filter(None, (problem.message, problem.hint)))
        for problem in problems_of(drafts, catalog, _checks(), deep=deep)
    }


def _checks() -> Checks:
    from tippers_dagster.graph.save import checks

    return checks(get_settings())


def _save(draft: Draft, by: str, expected: int | None) -> tuple[Definition, Reloaded]:
    from tippers_dagster.graph.save import save_definition

    done = save_definition(get_settings(), draft, by=by, expected_version=expected)
    return done.definition, done.reloaded


def _import(folder: Path, by: str) -> tuple[dict[Ref, Outcome], Reloaded]:
    from tippers_dagster.graph.save import import_folder

    done = import_folder(get_settings(), folder, by=by)
    return done.outcomes, done.reloaded


def _no_connection(ref: Ref) -> Ref:
    """Refuse a connection: only its own commands know what reads its tables."""
    if ref.kind is Kind.CONNECTION:
        raise BadInput(
            f"{ref} is a connection; definitions may read its tables.",
            f"Use `tippers connections delete {ref.name}`, which checks that first.",
        )
    return ref


def _follow(refs: Iterable[Ref]) -> None:
    """Track the spaces that datasets need."""
    from tippers_dagster.catalog import store
    from tippers_dagster.occupancy.datasets import follow

    for ref in refs:
        if ref.kind == Kind.DATASET:
            follow(get_settings(), store.get(get_settings(), ref))


def _reload() -> Reloaded:
    from tippers_dagster.graph.reload import reload_definitions

    return reload_definitions(get_settings())

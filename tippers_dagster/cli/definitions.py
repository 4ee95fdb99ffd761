"""``tippers definitions``: concepts, indexes, rules, labelling functions and all else defined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.cli.datasets import user_name
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from tippers_dagster.catalog.catalog import Catalog
    from tippers_dagster.catalog.model import Definition, Draft, Ref
    from tippers_dagster.catalog.rows import Version
    from tippers_dagster.catalog.store import Outcome
    from tippers_dagster.catalog.validate import Checks
    from tippers_dagster.pipeline.reload import Reloaded

Written = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="concept.name, such as device.always_on; or concept.device, connection.name, "
        "dataset.name.",
        show_default=False,
    ),
]
By = Annotated[str | None, typer.Option(help="Who does it; you, unless set.")]
Expected = Annotated[
    int | None,
    typer.Option("--from-version", help="Refuse if it is no longer of this version.", min=0),
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


# --- looking -------------------------------------------------------------------------------------
def list_all(
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    concept: Annotated[str | None, typer.Option(help="Only what is in this concept.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Retired ones, too.")] = False,
) -> None:
    """List definitions by concept and name."""
    from tippers_dagster.catalog import store
    from tippers_dagster.terminal import table_console

    settings = get_settings()
    found = store.list_definitions(settings, kind=kind, concept=concept, retired=every)
    catalog = store.load_catalog(settings)
    if found:
        console = table_console()
        console.print(_table(found, catalog, console.width))
    else:
        typer.echo("There is no such definition; `tippers definitions list --all` shows more.")
    for place, reason in catalog.unusable.items():
        typer.secho(f"{place}: {reason}", fg="yellow")
    broken = sum(1 for d in found if d.ref in catalog.problems)
    if broken:
        typer.secho(f"{broken} cannot work; `tippers definitions validate` says why.", fg="yellow")


def show(
    name: Written,
    version: Annotated[int | None, typer.Option(help="As it was in this version.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Its versions.")] = False,
) -> None:
    """Show a definition, what it reads and who reads it."""
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
        typer.Argument(metavar="[NAME|FOLDER|FILE]", help="All definitions, unless set."),
    ] = None,
) -> None:
    """Say what is wrong with definitions, or with files before they are imported."""
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
        typer.echo(f"{len(wrong)} of {len(checked)} cannot work.")
        raise typer.Exit(1)
    typer.echo(f"{len(checked)} checked; nothing is wrong.")


# --- files ---------------------------------------------------------------------------------------
def export(
    folder: Annotated[Path, typer.Argument(help="Made if it is not there.", file_okay=False)],
    git: Annotated[
        bool, typer.Option("--git", help="Those that come with the project's files, too.")
    ] = False,
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
        f"{len(readable)} definitions in {folder}: {len(done.written)} files written, "
        f"{len(done.unchanged)} as they were."
    )
    for path in done.left_over:
        typer.echo(f"{path}: {'removed' if prune else 'of no exported definition (--prune)'}")
    for d in found:
        if d not in readable:
            typer.secho(f"{d.ref} cannot be read and was left out.", fg="yellow")
    if not found and not git:
        typer.echo("Nothing is saved yet; --git exports what comes with the project's files.")


def import_(
    folder: Annotated[Path, typer.Argument(help="As exported.", file_okay=False)],
    by: By = None,
) -> None:
    """Save all definitions of a folder, or none if one of them cannot work."""
    outcomes, reloaded = _import(folder, _who(by))
    _follow(ref for ref, outcome in outcomes.items() if outcome != "unchanged")
    for outcome in ("created", "changed"):
        for ref, found in outcomes.items():
            if found == outcome:
                typer.echo(f"{outcome:<8} {ref}")
    unchanged = list(outcomes.values()).count("unchanged")
    typer.echo(f"{len(outcomes)} definitions, {unchanged} of them unchanged.")
    _told(reloaded)


def save(
    file: Annotated[Path, typer.Argument(help="A YAML file, as `show` prints or export writes.")],
    expected: Expected = None,
    by: By = None,
) -> None:
    """Save one definition."""
    from tippers_dagster.catalog import files

    saved, reloaded = _save(files.read_file(file), _who(by), expected)
    _follow([saved.ref])
    _say(saved, "is saved", reloaded)


# --- changing ------------------------------------------------------------------------------------
def retire(name: Written, expected: Expected = None, by: By = None) -> None:
    """Put a definition away; it keeps its name and history, and can be activated again."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = _no_connection(store.find(settings, name))
    users = store.load_catalog(settings).users(ref)
    done = store.retire(settings, ref, by=_who(by), expected_version=expected)
    _say(done, "is retired", _reload())
    if users:
        typer.secho(f"These use it and cannot work now: {', '.join(map(str, users))}", fg="yellow")


def activate(name: Written, expected: Expected = None, by: By = None) -> None:
    """Take a retired definition back into use."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = store.find(settings, name)
    done = store.activate(settings, ref, by=_who(by), expected_version=expected, checks=_checks())
    _follow([ref])
    _say(done, "is active", _reload())


def delete(name: Written, expected: Expected = None, by: By = None) -> None:
    """Delete a saved definition that nobody uses. Its history stays."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = _no_connection(store.find(settings, name))
    store.delete(settings, ref, by=_who(by), expected_version=expected)
    back = store.load_catalog(settings).definitions.get(ref)
    typer.echo(f"{ref} is deleted; `tippers definitions restore {ref} N` brings a version back.")
    if back is not None:
        typer.echo("The one that comes with the project's files is used again.")
    _told(_reload())


def rename(
    name: Written, to: Annotated[str, typer.Argument(help="The new name.")], by: By = None
) -> None:
    """Give a definition that nobody uses another name in its concept."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = _no_connection(store.find(settings, name))
    done = store.rename(settings, ref, to, by=_who(by))
    _say(done, "is its new name", _reload())


def restore(
    name: Written,
    version: Annotated[int, typer.Argument(help="Its number in `show --history`.")],
    expected: Expected = None,
    by: By = None,
) -> None:
    """Save an earlier version of a definition again."""
    from tippers_dagster.catalog import store

    settings = get_settings()
    ref = store.find(settings, name)
    done = store.restore(
        settings, ref, version, by=_who(by), expected_version=expected, checks=_checks()
    )
    _follow([ref])
    _say(done, f"is as in version {version} again", _reload())


# --- saying --------------------------------------------------------------------------------------
def _table(found: Sequence[Definition], catalog: Catalog, width: int) -> Table:
    """One line each: of the description as much as fits into ``width`` characters."""
    from rich import box
    from rich.table import Table

    rows = [
        (str(d.ref), d.ref.kind.value.replace("_", " "), _state(d, catalog), _version(d), d.owner)
        for d in found
    ]
    heads = ("name", "kind", "state", "version", "owner")
    taken = sum(max(map(len, column)) + 1 for column in zip(heads, *rows, strict=True))
    room = max(20, width - taken - 2 * len(heads))
    table = Table(*heads, "description", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.columns[0].overflow = "fold"  # a name that is cut cannot be copied
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
        facts["takes place of"] = "the one that comes with the project's files"
    facts["reads"] = ", ".join(map(str, catalog.dependencies(d.ref))) or "no other definition"
    facts["used by"] = ", ".join(map(str, catalog.users(d.ref))) or "nobody"
    if d.ref in catalog.problems:
        facts["cannot work"] = catalog.problems[d.ref]
    for label, value in facts.items():
        typer.echo(f"# {label:<15}{value}")
    typer.echo(_text(d), nl=False)


def _text(given: Definition | Version) -> str:
    """The YAML text of a definition; of one that cannot be read, its fields as stored."""
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
    from tippers_dagster.terminal import table_console

    if not versions:
        typer.echo(f"{ref} comes with the project's files; their history is in git.")
        return
    table = Table("version", "when (UTC)", "who", "what", "changed")
    for new, old in zip(versions, [*versions[1:], None], strict=True):
        fields = ", ".join(changed_fields(old, new)) if old else ""
        cells = (new.version, f"{new.changed_at:%Y-%m-%d %H:%M:%S}", new.changed_by, new.action)
        table.add_row(*map(str, cells), fields)
    table_console().print(table)


def _say(done: Definition, what: str, reloaded: Reloaded) -> None:
    typer.echo(f"{done.ref} {what} (version {_version(done)}).")
    _told(reloaded)


def _told(reloaded: Reloaded) -> None:
    typer.echo(reloaded.message)


def _who(by: str | None) -> str:
    return by or user_name() or "unknown"


# --- the services --------------------------------------------------------------------------------
def _problems(drafts: Iterable[Draft], catalog: Catalog) -> dict[str, str]:
    """What is wrong, by name. ``catalog``: with the drafts in it."""
    from tippers_dagster.catalog.validate import problems_of

    # The texts of what comes with the project's files are not user SQL: dbt itself checks them.
    deep = {ref for ref, d in catalog.definitions.items() if d.origin == "catalog"}
    return {
        str(problem.ref): " ".join(filter(None, (problem.message, problem.hint)))
        for problem in problems_of(drafts, catalog, _checks(), deep=deep)
    }


def _checks() -> Checks:
    from tippers_dagster.pipeline.save import checks

    return checks(get_settings())


def _save(draft: Draft, by: str, expected: int | None) -> tuple[Definition, Reloaded]:
    from tippers_dagster.pipeline.save import save_definition

    done = save_definition(get_settings(), draft, by=by, expected_version=expected)
    return done.definition, done.reloaded


def _import(folder: Path, by: str) -> tuple[dict[Ref, Outcome], Reloaded]:
    from tippers_dagster.pipeline.save import import_folder

    done = import_folder(get_settings(), folder, by=by)
    return done.outcomes, done.reloaded


def _no_connection(ref: Ref) -> Ref:
    """Who reads a connection's tables is known to its own commands only."""
    if ref.kind is Kind.CONNECTION:
        raise BadInput(
            f"{ref} is a connection; SQL may read its tables.",
            f"`tippers connections delete {ref.name}` looks for that first.",
        )
    return ref


def _follow(refs: Iterable[Ref]) -> None:
    """Track what datasets need."""
    from tippers_dagster.catalog import store
    from tippers_dagster.datasets.store import follow

    for ref in refs:
        if ref.kind == Kind.DATASET:
            follow(get_settings(), store.get(get_settings(), ref))


def _reload() -> Reloaded:
    from tippers_dagster.pipeline.reload import reload_definitions

    return reload_definitions(get_settings())

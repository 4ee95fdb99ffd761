"""Logs that are uploaded: what a file would be read as, and loading it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.campus.intake.entries import (
    SESSION_KINDS,
    Ingested,
    list_ingests,
    same_options,
)
from tippers_dagster.campus.intake.journal import IngestReport
from tippers_dagster.campus.intake.log import LOG, ingest_log, log_options
from tippers_dagster.campus.log.guessing import SAMPLE_COLUMNS, Choice, Look, find_mapping
from tippers_dagster.campus.log.mapping import (
    TO_FILL_IN,
    mapping_text,
    read_layout,
    read_mapping,
)
from tippers_dagster.campus.log.presets import Preset, preset, presets
from tippers_dagster.campus.log.preview import Preview, preview
from tippers_dagster.campus.log.rows import Progress
from tippers_dagster.campus.log.sessions import ROLES
from tippers_dagster.campus.log.times import OpenOrder
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.log_source import (
    log_source,
    log_sources,
    ref_of,
    said_of_logs,
    way_of,
)
from tippers_dagster.campus.source.places import Places
from tippers_dagster.campus.source.schema import REGION_TO_COVERAGE, source_tables
from tippers_dagster.catalog.kinds import LogSource
from tippers_dagster.catalog.model import Definition, Draft
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.save import save_definition
from tippers_dagster.occupancy.source_checks import check_dates
from tippers_dagster.platform import yaml_text
from tippers_dagster.platform.scratch import scratch_folder
from tippers_dagster.platform.text import shown
from tippers_dagster.settings import Settings

MAX_UPLOAD_BYTES = 200 << 20
"""Largest log that can be uploaded; larger ones are loaded from the command line."""

SHOWN_ROWS = 20
MAX_VALUE = 60
"""Characters of a value in a table."""

SOURCE = "log source "
"""What a log source's name is preceded by, among the kinds of logs."""

Fields = Mapping[str, Any]
"""A mapping as plain values, as YAML has it; perhaps not a valid one."""

_USER = "user"
_KIND_HINT = "Choose another kind of log, or None of these."
_ORDER_HINT = "Choose the order of day and month, under More fields."


@dataclass(frozen=True)
class Upload:
    """An uploaded file; ``name`` is what the browser calls it."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Seen:
    """What a log would be read as.

    Attributes
    ----------
    found
        Its first rows.
    unknown
        Rows by access point, of access points that cover no space.
    """

    found: Preview
    unknown: Counter[str]


@dataclass(frozen=True)
class Loaded:
    """A log that was loaded.

    Attributes
    ----------
    name
        The file's.
    report
        What was loaded, and what not.
    outdated
        The computed chunks whose counts are out of date since then.
    replaces
        Whether it took the place of what the ingest had loaded before.
    """

    name: str
    report: IngestReport
    outdated: list[str]
    replaces: bool = False


def reads_in_place(settings: Settings) -> bool:
    """Whether the log is the campus's own database or a log source, which are never written."""
    return settings.source_url is not None or settings.log_source is not None


def choose(app: App, upload: Upload, kind: str | None, encoding: str, separator: str) -> Choice:
    """How to read an uploaded log of which no mapping is given.

    Parameters
    ----------
    kind
        One of ``kinds``: the name of a preset, or of a log source; empty: none of them; None: the
        preset that fits best.
    encoding, separator
        How the file is written; empty: that is found by itself.

    Raises
    ------
    NotAllowed
        The person may not load logs.
    BadInput
        The file is too large, cannot be read, or lacks columns of the preset; or the log source
        cannot work.
    """
    app.person.require(Role.ANALYST, "load logs")
    mapping, chosen = None, None
    if kind and kind.startswith(SOURCE):
        mapping, chosen = way_of(log_source(app.settings, kind.removeprefix(SOURCE)))
    elif kind:
        chosen = preset(kind)
    layout = read_layout({"encoding": encoding or None, "separator": separator or None})
    with _on_disk(app, upload) as path:
        try:
            found = find_mapping(path, mapping=mapping, preset=chosen, layout=layout)
        except BadInput as error:
            raise BadInput(error.message, _KIND_HINT if kind else error.hint) from None
        return Choice(found.look, guesses=found.guesses) if kind == "" else found


def preview_log(app: App, upload: Upload, fields: Fields) -> Seen:
    """The first rows of an uploaded log as they would be loaded by a mapping; stores nothing.

    Raises
    ------
    NotAllowed
        The person may not load logs.
    BadInput
        The mapping is wrong, or the file cannot be read by it.
    """
    app.person.require(Role.ANALYST, "load logs")
    mapping, places = read_mapping(fields), _places(app.settings)
    with _on_disk(app, upload) as path:
        choice = find_mapping(path, mapping=mapping)
        deployment = said_of_logs(app.settings)
        found = preview(path, choice, deployment, shown=SHOWN_ROWS, place=places.find)
        return Seen(found, places.unknown)


def loaded_before(app: App, upload: Upload) -> Ingested | None:
    """The ingest that has loaded the same content, if there is one.

    Raises
    ------
    NotAllowed
        The person may not load logs.
    """
    app.person.require(Role.ANALYST, "load logs")
    sha256 = hashlib.sha256(upload.content).hexdigest()
    all_of_them = list_ingests(app.settings, SESSION_KINDS)
    same = [one for one in all_of_them if one.sha256 == sha256 and one.undone_at is None]
    return same[-1] if same else None


def is_same_load(
    settings: Settings, before: Ingested, fields: Fields, gap_seconds: int | None
) -> bool:
    """Whether an ingest has read a log by this mapping, so that loading it again does nothing."""
    mapping = read_mapping(fields)
    gap = gap_seconds or settings.observation_gap_seconds
    return same_options(before, LOG, log_options(mapping, gap))


def load(
    app: App,
    upload: Upload,
    fields: Fields,
    gap_seconds: int | None,
    progress: Progress,
    replaced: int | None = None,
) -> Loaded:
    """Load an uploaded log completely, or not at all; rejected rows are kept with their reason.

    Parameters
    ----------
    fields
        The mapping.
    gap_seconds
        Of observations: longest gap in a session; None: as in the settings.
    progress
        Called with the bytes read and the size of the file. What it raises ends the load, and
        nothing is loaded.
    replaced
        The number of the ingest whose rows this load takes the place of.

    Raises
    ------
    NotAllowed
        The person may not load logs.
    BadInput
        The mapping is wrong, no row can be used, or the file was loaded by another mapping.
    SourceError
        The log is read from the campus's own database.
    """
    app.person.require(Role.ANALYST, "load logs")
    mapping = read_mapping(fields)
    name = shown(upload.name)
    gap = gap_seconds if mapping.seen else None
    with _on_disk(app, upload) as path:
        report = ingest_log(app.settings, path, mapping, gap, progress, again=replaced, name=name)
    outdated = [] if report.already else check_dates(app.settings, report.dates).changed
    return Loaded(name, report, outdated, replaced is not None)


def _places(settings: Settings) -> Places:
    table = source_tables(settings)[REGION_TO_COVERAGE]
    found = read_source(settings, "SELECT to_regclass($1) IS NULL AS missing", (table.sql,))
    if found["missing"][0].as_py() and settings.source_url is None:
        create_source_schema(settings)  # nothing was ever loaded
    return Places(settings, partial(read_source, settings))


@contextmanager
def _on_disk(app: App, upload: Upload) -> Iterator[Path]:
    """The file in a private folder, under a name of ours; errors call it as the browser does."""
    if len(upload.content) > MAX_UPLOAD_BYTES:
        raise BadInput(
            f"{shown(upload.name)} is larger than {MAX_UPLOAD_BYTES >> 20} MiB.",
            "Load it on the server: `tippers ingest log FILE`.",
        )
    with scratch_folder(app.settings.home_path / "uploads") as folder:
        path = folder / "log"
        path.write_bytes(upload.content)
        try:
            yield path
        except BadInput as error:
            hint = _ORDER_HINT if isinstance(error, OpenOrder) else error.hint
            message = error.message.replace(str(path), shown(upload.name))
            raise BadInput(message, hint and hint.replace(str(path), shown(upload.name))) from None


# --- log sources --------------------------------------------------------------------------------
def sources(app: App) -> dict[str, Definition]:
    """The log sources of files, by name.

    Raises
    ------
    NotAllowed
        The person may not load logs.
    """
    app.person.require(Role.ANALYST, "load logs")
    found = log_sources(app.settings).items()
    return {n: d for n, d in found if isinstance(d.body, LogSource) and d.body.table is None}


def save_source(
    app: App, name: str, description: str, fields: Fields, replaced: Definition | None
) -> str:
    """Save a mapping as a log source of files; returns a sentence.

    Parameters
    ----------
    replaced
        The log source of this name, as the person has seen it; None: there was none.

    Raises
    ------
    NotAllowed
        The person may not define log sources.
    BadInput
        The name or the mapping is wrong, or somebody else has saved the name meanwhile.
    """
    app.person.require(Role.ADMIN, "define log sources")
    mapping = read_mapping(fields).as_fields()
    if replaced is None and name.strip() in log_sources(app.settings):
        raise BadInput(f"There is already a log source {name.strip()}.", "Choose another name.")
    draft = Draft(ref_of(name.strip()), LogSource(mapping=mapping), description.strip())
    expected = 0 if replaced is None else replaced.version
    saved = save_definition(app.settings, draft, by=app.person.name, expected_version=expected)
    done = "was saved" if replaced is None else "was replaced"
    return f"The log source {draft.ref.name} {done}. {saved.reloaded.message}"


# --- mappings -----------------------------------------------------------------------------------
def kinds(guesses: list[tuple[Preset, str]], defined: Mapping[str, Definition]) -> dict[str, str]:
    """Titles of the kinds of logs: the presets that a log may be, the log sources that are defined,
    and the other presets; the last one, with an empty name, is none.
    """
    first = {one.name: one.title for one, _ in guesses}
    own = {f"{SOURCE}{name}": one.description for name, one in defined.items()}
    others = {name: one.title for name, one in presets().items() if name not in first}
    return {**first, **own, **others, "": "None of these"}


def fields_of(choice: Choice, encoding: str, separator: str) -> Fields:
    """The fields that a mapping is begun with; see ``choose``."""
    if choice.mapping is not None:
        return choice.mapping.as_fields()
    layout = {"encoding": encoding, "separator": separator}
    given = {name: value for name, value in layout.items() if value}
    return {"file": given} if given else {}


def columns_of(fields: Fields, role: str) -> list[str]:
    """The columns of one field."""
    value = fields.get(role) or []
    return [value] if isinstance(value, str) else list(value)


def yaml_of(fields: Fields) -> str:
    """A mapping as YAML; without a device, one to fill in."""
    return mapping_text(fields if fields.get("device") else {**TO_FILL_IN, **fields})


def fields_of_yaml(text: str) -> Fields:
    """The fields of a mapping that somebody wrote as YAML.

    Raises
    ------
    BadInput
        A line for each field that is wrong.
    """
    return read_mapping(yaml_text.load(text)).as_fields()


def file_of(found: Preview, begun_from: Preset | None) -> bytes:
    """The mapping as a file for ``tippers ingest log --mapping``; of the preset that it is from."""
    fields = {} if found.mapping is None else found.mapping.as_fields()
    return mapping_text(fields, replace(found, preset=begun_from).comments()).encode()


# --- tables -------------------------------------------------------------------------------------
_HEADINGS = {
    "device": "Device",
    "kind": "Kind",
    "seen": "Seen",
    "start": "Start",
    "end": "End",
    "access_point": "Access point",
    "space": "Space",
    "ssid": "SSID",
    "person": "Person",
    "kept": "Kept",
}


def columns_table(look: Look, fields: Fields) -> pd.DataFrame:
    """The columns of a log, with what each means by a mapping and its first value.

    A column that means nothing yet may have user names, so only the form of its value is shown.
    """
    roles = ("keep", *ROLES)
    meant = {n.strip().casefold(): role for role in roles for n in columns_of(fields, role)}
    rows = []
    for name in look.names[:SAMPLE_COLUMNS]:
        role, value = meant.get(name.strip().casefold(), ""), look.example(name) or ""
        value = value if role not in ("", _USER) else _form(value)
        rows.append((shown(name), role.replace("_", " "), shown(value, MAX_VALUE)))
    return pd.DataFrame(rows, columns=["Column", "Field", "First value"])


def _form(value: str) -> str:
    """The form of a text without its content: ``Kim@a.edu 2025`` is ``Aaa@a.aaa 0000``."""
    upper = re.sub(r"[^\x00-\x7f]|[A-Z]", "A", value[:MAX_VALUE])
    return re.sub(r"[0-9]", "0", re.sub(r"[a-z]", "a", upper))


def rows_table(found: Preview) -> pd.DataFrame:
    """The first rows as they would be taken; of rejected ones what the log has, and the reason."""
    rows = []
    for row in found.rows:
        values = row.understood or row.values
        cells = {
            title: shown(value, MAX_VALUE) if (value := values.get(key)) else None
            for key, title in _HEADINGS.items()
        }
        rejected = None if row.reason is None else shown(row.reason, 200)
        rows.append({"Row": row.number, "Rejected": rejected, **cells})
    table = pd.DataFrame(rows, columns=["Row", *_HEADINGS.values(), "Rejected"])
    return table.dropna(axis="columns", how="all").fillna("")


def reasons_table(reasons: Counter[str]) -> pd.DataFrame:
    """Rows by the reason for which they are rejected."""
    rows = [(shown(reason, 200), count) for reason, count in reasons.most_common()]
    return pd.DataFrame(rows, columns=["Reason", "Rows"])


def access_points_table(unknown: Counter[str]) -> pd.DataFrame:
    """Rows by access points that cover no space."""
    rows = [(shown(name), count) for name, count in unknown.most_common()]
    return pd.DataFrame(rows, columns=["Access point", "Rows"])

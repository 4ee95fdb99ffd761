"""Loading a log: upload a file, see what it would be read as, correct that, and load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import streamlit as st

from streamlit_app.services import log_files as service
from streamlit_app.services.app import App
from streamlit_app.services.log_files import Fields, Loaded, Seen, Upload
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.log_files import mapping, preview, report, sources
from tippers_dagster.access.model import Role
from tippers_dagster.campus.intake.entries import Ingested
from tippers_dagster.campus.log.guessing import Choice
from tippers_dagster.catalog.model import Definition
from tippers_dagster.platform.text import shown

_UPLOADS = "log.uploads"
"""The number of loads so far; part of the uploader's key, so that each load empties it."""
_WORK = "log.work"
_LOADED = "log.loaded"

_FOUND = "Found automatically"
_ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be"),
    *("latin-1", "windows-1250", "windows-1252"),
)
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass
class _Work:
    """What is known of the uploaded file, kept while somebody works on it."""

    file_id: str
    choices: dict[tuple[str | None, str, str], Choice] = field(default_factory=dict)
    draft: mapping.Draft | None = None
    seen: tuple[str, Seen] | None = None
    """The preview, and the fields that it was made with."""
    before: Ingested | None = None
    """The ingest that has loaded the same content."""


def render(app: App) -> None:
    """The page."""
    st.title("Load a log")
    st.markdown(
        "A WiFi log says which device was where, and when. Upload one in any shape, check how its "
        "columns are read, and load it. Nothing is stored before you load it."
    )
    loaded: Loaded | None = st.session_state.get(_LOADED)
    if loaded is not None:
        report.show(app.settings, loaded)
    if not app.person.may(Role.ANALYST):
        st.info("Loading logs needs the analyst role.", icon=":material/lock:")
        return
    if service.reads_in_place(app.settings):
        st.info(
            "This deployment reads its log in place, from a database that is never written. You "
            "can check how a file would be read, but not load it.",
            icon=":material/database:",
        )
    file = st.file_uploader(
        "CSV, JSON or Parquet; CSV and JSON may be compressed",
        max_upload_size=service.MAX_UPLOAD_BYTES >> 20,
        key=f"{_UPLOADS} {st.session_state.get(_UPLOADS, 0)}",
        on_change=lambda: st.session_state.pop(_LOADED, None),
    )
    if file is None:
        _explain()
        return
    upload = Upload(file.name, file.getvalue())
    work: _Work | None = st.session_state.get(_WORK)
    if work is None or work.file_id != file.file_id:
        before = service.loaded_before(app, upload)
        work = st.session_state[_WORK] = _Work(file.file_id, before=before)
    with show_errors():
        _file(app, upload, work)


def _explain() -> None:
    st.caption(
        f"Files of up to {service.MAX_UPLOAD_BYTES >> 20} MiB. Load larger ones on the server with "
        "`tippers ingest log FILE`, which reads them in the same way; `tippers log preview FILE` "
        "shows how."
    )
    st.markdown(
        "- Each row needs a **device**, a **time** (start and end or duration of a session, or "
        "when the device was seen), and a **space or access point**.\n"
        "- Common logs are recognised: FreeRADIUS accounting, and exports of Cisco, Aruba, Meraki, "
        "Mist, UniFi and others.\n"
        "- Load spaces, and the coverage of access points, first: `tippers ingest spaces FILE`, "
        "`tippers ingest region-to-coverage FILE`.\n"
        "- User names are never stored or shown. They only tell which devices are of the same "
        "person."
    )


def _file(app: App, upload: Upload, work: _Work) -> None:
    encoding, separator = _layout(work)
    guess = _choice(app, upload, work, (None, encoding, separator))
    defined = service.sources(app)
    kind = _kind(work, guess, defined)
    with show_errors():
        key = (kind, encoding, separator)
        guessed = guess.preset.name if guess.preset else ""
        choice = guess if kind == guessed else _choice(app, upload, work, key)
        source = kind.removeprefix(service.SOURCE) if kind.startswith(service.SOURCE) else ""
        preview.show_choice(guess, choice, source)
        if work.draft is None or work.draft.source != key:
            work.draft = mapping.Draft(key, service.fields_of(choice, encoding, separator))
        with st.container(border=True):
            fields = mapping.edit(app.settings, work.draft, choice.look, work.file_id)
        _result(app, upload, work, fields, choice)
        if app.person.may(Role.ADMIN):
            sources.save(app, work.file_id, fields, defined, source)


def _layout(work: _Work) -> tuple[str, str]:
    """The encoding and the separator; empty: found by itself."""
    with st.expander("How the file is written"), st.container(horizontal=True):
        encoding = st.selectbox(
            "Encoding",
            ["", *_ENCODINGS],
            format_func=lambda name: name or _FOUND,
            key=f"log encoding {work.file_id}",
            help="UTF-8, and UTF-16 with a byte order mark, are found automatically.",
            width=240,
        )
        separator = st.selectbox(
            "Separator of a CSV",
            ["", *_SEPARATORS],
            format_func=lambda one: _SEPARATORS.get(one, one) if one else _FOUND,
            accept_new_options=True,
            key=f"log separator {work.file_id}",
            help="Choose one, or type any other character.",
            width=240,
        )
    return encoding, separator or ""


def _choice(app: App, upload: Upload, work: _Work, key: tuple[str | None, str, str]) -> Choice:
    if key not in work.choices:
        with st.spinner("Reading ..."):
            work.choices[key] = service.choose(app, upload, *key)
    return work.choices[key]


def _kind(work: _Work, guess: Choice, defined: Mapping[str, Definition]) -> str:
    """The chosen preset or log source; empty: none."""
    titles = service.kinds(guess.guesses, defined)
    names = list(titles)
    best = guess.preset.name if guess.preset else ""
    return st.selectbox(
        "Kind of log",
        names,
        index=names.index(best),
        format_func=lambda name: ": ".join(filter(None, (name, titles[name]))),
        key=f"log kind {work.file_id} {best}",
    )


def _result(app: App, upload: Upload, work: _Work, fields: Fields, choice: Choice) -> None:
    """What the log would be read as, and the buttons."""
    seen = None
    if fields.get("device"):
        with show_errors():
            seen = _seen(app, upload, work, fields)
    preview.show_columns(choice.look if seen is None else seen.found.look, fields)
    if seen is None:
        return
    preview.show(seen)
    gap = mapping.gap(app.settings, fields, work.file_id)
    replaced = _replaced(app, work, fields, gap)
    with st.container(horizontal=True):
        nothing = seen.found.is_whole and not seen.found.usable
        disabled = nothing or service.reads_in_place(app.settings)
        label = "Load the log" if replaced is None else f"Replace ingest {replaced}"
        if st.button(label, type="primary", disabled=disabled, key="log.load"):
            _load(app, upload, fields, gap, replaced)
        st.download_button(
            "Download the mapping",
            service.file_of(seen.found, choice.preset),
            file_name="mapping.yaml",
            mime="application/yaml",
            key="log.mapping",
            on_click="ignore",
            icon=":material/download:",
            help="For `tippers ingest log FILE --mapping mapping.yaml`",
        )


def _seen(app: App, upload: Upload, work: _Work, fields: Fields) -> Seen:
    key = json.dumps(fields, sort_keys=True)
    if work.seen is None or work.seen[0] != key:
        with st.spinner("Reading the first rows ..."):
            work.seen = (key, service.preview_log(app, upload, fields))
    return work.seen[1]


def _replaced(app: App, work: _Work, fields: Fields, gap: int | None) -> int | None:
    """Say whether the file was loaded before; the ingest that read it otherwise, if one did."""
    before = work.before
    if before is None:
        return None
    when = report.in_words(app.settings, before.ingested_at)
    loaded = f"This file was already loaded on {when}, as ingest {before.ingest_id}"
    if service.is_same_load(app.settings, before, fields, gap):
        st.info(f"{loaded}. Loading it again does nothing.", icon=":material/info:")
        return None
    st.warning(
        f"{loaded}, but read in another way. What that ingest has loaded is replaced.",
        icon=":material/warning:",
    )
    return before.ingest_id


def _load(app: App, upload: Upload, fields: Fields, gap: int | None, replaced: int | None) -> None:
    text = f"Loading {plain(shown(upload.name))}. Leaving this page cancels it."
    bar = st.progress(0.0, text)

    def tick(done: int, total: int) -> None:
        bar.progress(min(done / max(total, 1), 1.0), text)

    st.session_state[_LOADED] = service.load(app, upload, fields, gap, tick, replaced)
    st.session_state[_UPLOADS] = st.session_state.get(_UPLOADS, 0) + 1
    st.session_state.pop(_WORK, None)
    st.rerun()

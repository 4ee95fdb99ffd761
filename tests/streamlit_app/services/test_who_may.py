"""Each function of the services is for everybody who may look, or refuses those who may not use it.

A function that is in neither list fails here: whoever writes one decides.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NoReturn
from unittest.mock import MagicMock

import pytest

import streamlit_app.services
from streamlit_app.services.app import App
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.people.model import NotAllowed, Person, Role

FOR_VIEWERS = {
    # The calendar, which holds nobody, and what it looks like.
    "calendar": "may_write periods as_csv year_of years in_words",
    # Where connections lead, never with a password.
    "connections": "listing fields_of",
    "definition_files": "to_export exported read_uploads",
    # Forms: what was typed, and what can be chosen.
    "definition_forms": """begin begin_copy begin_new find sound new_condition new_row fields_of
        condition_to_fields draft body_values conditions_of switch written_name choices
        index_choices function_choices feature_choices labels_given device_labels model_labels
        labels_of refinable tree_lines text_of same""",
    # Numbers of entities, by label.
    "definition_models": "confident split forecast_models scope",
    "definition_preview": """fault_of catalog_after with_a_name readable_tables rule_columns
        versions_now preview_model answers share number present""",
    # `take_theirs` changes the form only.
    "definitions": """load rows state_of filtered open_ref opened changed_by_others reading history
        diff may_write require_write take_theirs removal watch
        unreadable""",
    "forecasts": """forecasters standing training changes comparison winners ahead history_of
        quantile_points backtest origins export""",
    "labelled": "sources split parts in_words",
    # Labels by number of entities.
    "labels": """label_models catalog_of summary evaluation score_history compare materialisations
        turn gold_count table_of""",
    "models": """catalog_of classifiers problem body_of results registry decisions back_to
        standings predicted as_file read_csv drift""",
    # Counts of devices.
    "occupancy": """extents log_span default_window parse_window choose_width
        parse_width read_width series files_to_read week ranking shown_children floor squarify
        export file_name chunks_behind local_seconds local_time now""",
    "overview": "last_hour now busiest freshness rejected failed_assets failed_runs running",
    "people": """people_counts in_space summary points counted_in_words quality_in_words export
        counted compared ratios usable_rows rejected_rows""",
    "pipeline": """look picture in_words_counted going change_of_edge details value_tree""",
    "runs": "find counts details",
    "tracking": """estimate standing at_work kept datasets source_extent is_anything_tracked""",
    "words": "percent",
}
"""What shows no device and changes nothing that others see, by module."""

FOR_ANALYSTS = {
    "calendar": "save remove import_file add_holidays",
    "connections": "test sync",
    "definition_files": "plan import_planned",
    "definition_preview": "check preview_rows preview_votes",
    "definitions": "save save_deleted retire activate delete rename restore",
    "labels": "find uncertain why export give_gold take_gold",
    "models": "promote roll_back export model_of example_rows predict_rows predict_index",
    "overview": "retry_definitions",
    "people": "look_at import_uploaded clear",
    "pipeline": "materialise cancel arrange lay_out_anew connect",
    "runs": "cancel repeat",
    "tracking": """track create_dataset retry_failed recompute untrack rename_dataset
        delete_dataset track_again""",
}

FOR_ADMINS = {"connections": "try_out find_tables add edit choose leave_out delete"}

OF_CONNECTIONS = ["save", "save_deleted", "retire", "activate", "delete", "rename", "restore"]
"""Functions of ``definitions`` that take an administrator when they change a connection."""


class Untouched:
    """Settings of which nothing may be read before the role was looked at."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the setting {name} was read before the role was checked")


def modules() -> Iterator[str]:
    for found in pkgutil.iter_modules(streamlit_app.services.__path__):
        yield found.name


def functions(module: str) -> dict[str, Callable[..., Any]]:
    """What pages can call: a module's own functions without an underscore."""
    found = import_module(f"streamlit_app.services.{module}")
    return {
        name: inspect.unwrap(value)
        for name, value in vars(found).items()
        if callable(value)
        and not inspect.isclass(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == found.__name__
    }


def listed(table: dict[str, str], module: str) -> set[str]:
    return set(table.get(module, "").split())


def call(function: Callable[..., Any], person: Person, kind: Kind) -> None:
    """Call it with anything at all."""
    app = App(Untouched(), person)  # type: ignore[arg-type]
    anything = MagicMock(kind=kind)
    given = {
        name: app if name == "app" else anything
        for name, parameter in inspect.signature(function).parameters.items()
        if name == "app" or parameter.default is parameter.empty
    }
    function(**given)


@pytest.mark.parametrize("module", list(modules()))
def test_somebody_decided_who_may_use_each_function(module: str) -> None:
    lists = [listed(table, module) for table in (FOR_VIEWERS, FOR_ANALYSTS, FOR_ADMINS)]
    assert sum(map(len, lists)) == len(set().union(*lists)), "in more than one list"
    assert set(functions(module)) == set().union(*lists)


@pytest.mark.parametrize(
    ("table", "person"),
    [
        (FOR_ANALYSTS, Person("vi", Role.VIEWER)),
        (FOR_ADMINS, Person("vi", Role.VIEWER)),
        (FOR_ADMINS, Person("ann", Role.ANALYST)),
    ],
)
def test_those_below_are_refused_before_anything_is_read(
    table: dict[str, str], person: Person
) -> None:
    for module in table:
        for name in sorted(listed(table, module)):
            with pytest.raises(NotAllowed, match=r"may not .* needs the role"):
                call(functions(module)[name], person, Kind.INDEX)


@pytest.mark.parametrize("name", OF_CONNECTIONS)
def test_connections_are_changed_by_administrators_only(name: str) -> None:
    with pytest.raises(NotAllowed, match="admin"):
        call(functions("definitions")[name], Person("ann", Role.ANALYST), Kind.CONNECTION)


def test_no_page_is_for_a_person_that_is_more_than_a_viewer() -> None:
    """Pages that cache what all may see ask for it as a viewer."""
    import re
    from pathlib import Path

    top = Path(streamlit_app.services.__file__).parents[1]
    for path in top.rglob("*.py"):
        for found in re.findall(r"Person\(.*\)", path.read_text()):
            own = path.name == "login.py" and "user_name()" in found
            assert own or "Role.VIEWER" in found, f"{path}: {found}"

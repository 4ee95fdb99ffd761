"""Each service function is either open to viewers or refuses people without the needed role.

A new function has to be added to one of the lists: its author decides.
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
from tippers_dagster.access.model import NotAllowed, Person, Role
from tippers_dagster.catalog.kinds import Kind

FOR_VIEWERS = {
    # The calendar has no personal data.
    "calendar": "may_write periods as_csv year_of years in_words",
    # Addresses of connections, never with a password.
    "connections": "listing fields_of",
    "definitions.files": "to_export exported read_uploads",
    "definitions.choices": """written_name find find_working choices index_choices
        function_choices feature_choices device_label_sources labels_of_concept labels_from
        planned_labels refinable_labels""",
    "definitions.conditions": "new_condition new_row condition_to_fields conditions_of switch",
    "definitions.edit": "begin begin_copy begin_new draft",
    "definitions.fields": "new_fields fields_of body_values",
    "definitions.text": "text_of diff tree_lines",
    "definitions.validation": "fault_of",
    "definitions.current_votes": "current_votes",
    "definitions.preview": "planned current_versions version_of",
    "definitions.preview_labels": "preview_model preview_derived_index",
    "definitions.preview_models": """preview_classifier preview_device_labels forecast_models
        preview_forecaster""",
    "definitions.preview_sql": "readable_tables rule_columns",
    "definitions.following": "progress",
    "definitions.listing": "load rows state_of filtered",
    "definitions.opened": """open_ref opened changed_by_others dependents removal unreadable
        history""",
    "definitions.saving": "may_write require_write take_theirs",
    # Numbers of entities, by label.
    # `take_theirs` changes the form only.
    "forecasts": """forecasters status training changes comparison winners ahead history_of
        quantile_points backtest origins export""",
    "labelled": "sources split parts in_words",
    # Labels by number of entities.
    "labels": """label_models catalog_of summary evaluation score_history compare_models
        materialisations compare_materialisations gold_count table_of""",
    "models": """catalog_of classifiers problem body_of results registry decisions back_to
        assets predicted read_csv drift""",
    # How a log is read; its rows are for analysts.
    "log_files": """reads_in_place is_same_load kinds fields_of columns_of yaml_of fields_of_yaml
        file_of columns_table rows_table reasons_table access_points_table""",
    # Counts of devices.
    "occupancy.children": "top_children ranking floor",
    "occupancy.computed": "extents newest_partition log_span default_window",
    "occupancy.export": "export file_name",
    "occupancy.local_time": "clock local_seconds local_time now midnight to_seconds from_seconds",
    "occupancy.series": "series are_people_known files_to_read week",
    "occupancy.treemap": "squarify",
    "occupancy.window": "parse_window choose_width parse_width parse_typed_width",
    "overview": """last_hour now busiest freshness rejected failed_assets failed_runs running
        definitions_in_words log_token identities""",
    "people": """people_counts people_in_space summary points counted_in_words quality_in_words
        export head_counts_by_space compared ratios usable_rows rejected_rows""",
    "pipeline.details": "details",
    "pipeline.edges": "change_of_edge",
    "pipeline.graph": "load_graph count_in_words",
    "pipeline.picture": "picture",
    "pipeline.runs": "active_runs",
    "pipeline.values": "value_tree",
    "runs": "find counts details",
    "tracking": """estimate progress is_running tracked_ranges datasets source_extent
        is_anything_tracked""",
    "words": "percent bin_width duration moment day span",
}
"""Functions that show no single device and change nothing that others see, by module."""

FOR_ANALYSTS = {
    "calendar": "save remove import_file add_holidays",
    "connections": "test sync",
    "definitions.files": "plan import_planned",
    "definitions.following": "compute_now",
    "definitions.preview_sql": "preview_rows",
    "definitions.preview_votes": "preview_votes",
    "definitions.saving": "save save_deleted retire activate delete rename restore",
    "definitions.validation": "validate",
    "labels": "find uncertain explain export set_gold remove_gold",
    "log_files": "choose preview_log loaded_before load sources",
    "models": "promote roll_back export model_of example_rows predict_rows predict_index",
    "overview": "retry_definitions",
    "people": "preview_file import_file remove_head_counts",
    "pipeline.edges": "apply_change",
    "pipeline.picture": "save_places reset_layout",
    "pipeline.runs": "materialise",
    "runs": "cancel repeat",
    "tracking": """track create_dataset retry_failed recompute untrack rename_dataset
        delete_dataset track_again""",
}

FOR_ADMINS = {
    "connections": "try_out find_tables add edit choose leave_out delete",
    "log_files": "save_source",
}

OF_CONNECTIONS = ["save", "save_deleted", "retire", "activate", "delete", "rename", "restore"]
"""Functions of ``definitions.saving`` that need an administrator when they change a connection."""


class Untouched:
    """Settings that must not be read before the role is checked."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the setting {name} was read before the role was checked")


def modules() -> Iterator[str]:
    prefix = f"{streamlit_app.services.__name__}."
    for found in pkgutil.walk_packages(streamlit_app.services.__path__, prefix):
        yield found.name.removeprefix(prefix)


def functions(module: str) -> dict[str, Callable[..., Any]]:
    """The functions that pages can call: a module's own ones without an underscore."""
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
    """Call a function with arbitrary arguments."""
    app = App(Untouched(), person)  # type: ignore[arg-type]
    anything = MagicMock(kind=kind)
    given = {
        name: app if name == "app" else anything
        for name, parameter in inspect.signature(function).parameters.items()
        if name == "app" or parameter.default is parameter.empty
    }
    function(**given)


@pytest.mark.parametrize("module", list(modules()))
def test_each_function_is_in_exactly_one_list(module: str) -> None:
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
def test_people_without_the_role_are_refused_before_anything_is_read(
    table: dict[str, str], person: Person
) -> None:
    for module in table:
        for name in sorted(listed(table, module)):
            with pytest.raises(NotAllowed, match=r"may not .* needs the \w+ role"):
                call(functions(module)[name], person, Kind.INDEX)


@pytest.mark.parametrize("name", OF_CONNECTIONS)
def test_connections_are_changed_by_administrators_only(name: str) -> None:
    with pytest.raises(NotAllowed, match="admin"):
        call(functions("definitions.saving")[name], Person("ann", Role.ANALYST), Kind.CONNECTION)


def test_pages_read_shared_data_as_a_viewer() -> None:
    """Data cached for all sessions is read with the role of a viewer."""
    import re
    from pathlib import Path

    top = Path(streamlit_app.services.__file__).parents[1]
    for path in top.rglob("*.py"):
        for found in re.findall(r"Person\(.*\)", path.read_text()):
            own = path.name == "login.py" and "machine_user()" in found
            assert own or "Role.VIEWER" in found, f"{path}: {found}"

"""Saving checks, stores and reloads definitions; an invalid definition changes nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import free_port
from tests.graph.small import ALL, FUNCTIONS, IS_A, LONG, Small, function, rule
from tippers_dagster.catalog import store
from tippers_dagster.catalog.files import export
from tippers_dagster.catalog.kinds import LabellingFunction
from tippers_dagster.catalog.model import Draft
from tippers_dagster.catalog.store import Conflict
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.graph.changes import definitions_stamp
from tippers_dagster.graph.reload import Watch, reload_definitions
from tippers_dagster.graph.save import import_folder, save_definition
from tippers_dagster.settings import get_settings


def with_sql(draft: Draft, sql: str) -> Draft:
    return replace(draft, body=draft.body.model_copy(update={"sql": sql}))


def with_python(text: str) -> Draft:
    body = LabellingFunction(rule="long", labels=("A",), python=text)
    return replace(IS_A, body=body)


def test_it_is_saved_when_the_deployment_is_not_running(small: Small) -> None:
    small.save(*ALL)
    lower = function("is_a", "hours > 2", "A")
    done = save_definition(small.settings, lower, by="ada", expected_version=1)
    assert done.definition.version == 2
    assert done.reloaded.state == "nothing_running"
    assert "when it starts" in done.reloaded.message
    assert store.get(small.settings, IS_A.ref).body == lower.body


WRONG = [
    (with_sql(LONG, "SELECT mac_address, 1 AS hours FROM nowhere"), "nowhere"),
    (with_sql(LONG, "SELECT mac_address, no_such AS hours FROM int_sessions"), "no_such"),
    (with_sql(LONG, "SELECT 1 AS hours FROM int_sessions"), "mac_address"),
    (with_sql(LONG, "DELETE FROM int_sessions"), "SELECT"),
    (with_sql(LONG, "SELECT mac_address, 1 AS minutes FROM int_sessions"), "device.is_a"),
    (function("is_a", "minutes > 3", "A"), "minutes"),
    (function("is_a", "hours >", "A"), "Condition 1"),
    (function("is_a", "hours > 3", "NOBODY"), "NOBODY"),
    (function("is_a", "hours > 3", "A", rule="short"), "short"),
    (with_python("def labeling_function(row):\n    return open('/etc/passwd')"), "open"),
]


@pytest.mark.slow
def test_invalid_definitions_are_rejected_with_reasons_and_change_nothing(small: Small) -> None:
    small.save(*ALL)
    small.computed()
    before = definitions_stamp(small.settings)
    for wrong, reason in WRONG:
        with pytest.raises(BadInput) as caught:
            save_definition(small.settings, wrong, by="ada")
        assert reason in str(caught.value)
        assert "Traceback" not in str(caught.value)
    assert definitions_stamp(small.settings) == before


def test_columns_are_known_before_anything_is_computed(small: Small) -> None:
    small.save(*ALL)
    with pytest.raises(BadInput, match="no column 'minutes'"):
        save_definition(small.settings, function("is_a", "minutes > 3", "A"), by="ada")
    without = with_sql(LONG, "SELECT mac_address, 1 AS minutes FROM int_sessions")
    with pytest.raises(BadInput, match=r"device\.is_a: .*the rule has no column 'hours'"):
        save_definition(small.settings, without, by="ada")


@pytest.mark.slow
def test_labelling_functions_protect_the_columns_of_rules(small: Small) -> None:
    small.save(*ALL)
    small.computed("+device.devices")  # creates the staging models, but no rule
    for new in (
        rule("star", "SELECT * FROM long"),
        function("of_star", "sessions > 3", "A", rule="star"),
    ):
        save_definition(small.settings, new, by="ada")
    without = with_sql(LONG, "SELECT mac_address, 2.5 AS hours FROM int_sessions")
    with pytest.raises(BadInput, match=r"device\.of_star: .*no column 'sessions'"):
        save_definition(small.settings, without, by="ada")
    more = with_sql(
        LONG, "SELECT mac_address, 2.5 AS hours, 1 AS sessions, 2 AS more FROM int_sessions"
    )
    save_definition(small.settings, more, by="ada")


def test_the_second_of_two_editors_gets_a_conflict(small: Small) -> None:
    small.save(*ALL)
    first, second = function("is_a", "hours > 2", "A"), function("is_a", "hours > 4", "A")
    save_definition(small.settings, first, by="ada", expected_version=1)
    with pytest.raises(Conflict, match="saved by ada"):
        save_definition(small.settings, second, by="bob", expected_version=1)


def test_processes_that_save_at_the_same_time_all_succeed(small: Small) -> None:
    small.save(*ALL)
    code = (
        "import sys; from dataclasses import replace; from tests.graph.small import IS_A;"
        "from tippers_dagster.catalog.model import Ref;"
        "from tippers_dagster.graph.save import save_definition;"
        "from tippers_dagster.settings import get_settings;"
        "ref = replace(IS_A.ref, name='own_' + sys.argv[1]);"
        "save_definition(get_settings(), replace(IS_A, ref=ref), by='ada')"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(n)], cwd=Path(__file__).parents[2], stderr=-1
        )
        for n in range(3)
    ]
    for process in started:
        _, error = process.communicate(timeout=100)
        assert process.returncode == 0, error.decode()
    assert {"device/own_0", "device/own_1", "device/own_2"} <= set(small.status())


def test_a_folder_is_imported_as_one(small: Small, tmp_path: Path) -> None:
    small.save(*ALL)
    known = [store.get(small.settings, d.ref) for d in FUNCTIONS]
    export(tmp_path / "out", known)
    done = import_folder(small.settings, tmp_path / "out", by="ada")
    assert set(done.outcomes.values()) == {"unchanged"}
    file = tmp_path / "out" / "device" / "labelling_functions" / "is_a.yml"
    file.write_text(file.read_text().replace("hours > 3", "hours > 2"))
    done = import_folder(small.settings, tmp_path / "out", by="ada")
    assert done.outcomes[IS_A.ref] == "changed"
    file.write_text(file.read_text().replace("hours > 2", "minutes > 2"))
    with pytest.raises(BadInput, match="minutes"):
        import_folder(small.settings, tmp_path / "out", by="ada")


def test_an_unavailable_web_server_is_reported(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_DAGSTER_WEB_URL", f"http://127.0.0.1:{free_port()}")
    get_settings.cache_clear()
    done = reload_definitions(get_settings())
    assert done.state == "failed"
    assert "did not reload the definitions" in done.message
    monkeypatch.setenv("TIPPERS_DAGSTER_WEB_URL", "nonsense")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="not the URL"):
        reload_definitions(get_settings())


def test_a_code_location_notices_changes(
    small: Small, bare_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.save(*ALL)
    watch = Watch(small.settings, definitions_stamp(small.settings))
    assert watch() is None
    small.insert_by_hand("rule", "by_hand", {})
    assert "a reload is pending" in watch(), "saving reloads it"
    monkeypatch.setattr("tippers_dagster.graph.reload.GRACE_SECONDS", 0)
    watch = Watch(small.settings, definitions_stamp(small.settings))
    assert watch() is None
    with (bare_folder / "macros" / "sources.sql").open("a") as file:
        file.write("\n-- changed")
    assert "reload the code location" in watch()
    assert "a reload is pending" in watch(), "not at every tick"

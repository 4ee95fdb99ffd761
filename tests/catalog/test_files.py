from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tippers_dagster.catalog import files, store
from tippers_dagster.catalog.catalog import definition_of
from tippers_dagster.catalog.kinds import Kind, Rule
from tippers_dagster.catalog.model import Draft
from tippers_dagster.catalog.validate import check_form
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text
from tippers_dagster.settings import Settings

from .conftest import device, draft, function, people

EVERY_KIND = [
    *device(),
    *people(),
    draft(
        "labelling_function",
        "device.in_python",
        rule="always_on",
        labels=["PHONE"],
        python="def labeling_function(row):\n    return PHONE\n",
    ),
    draft("feature", "device.f", index="devices", sql="SELECT 1", about="Two\nlines"),
    draft(
        "label_model",
        "device.balanced",
        index="devices",
        labelling_functions=["votes_static", "votes_laptop", "votes_phone"],
        class_balance={"STATIC": 0.5, "LAPTOP": 0.25, "PHONE": 0.25},
    ),
    draft(
        "classifier",
        "device.c",
        index="devices",
        label_model="device_type",
        features=["f"],
    ),
    draft(
        "connection",
        "registrar",
        dialect="postgresql",
        host="h",
        database="d",
        user="u",
        options={"sslmode": "require"},
        tables=[{"name": "t", "primary_key": ["id"]}],
    ),
    draft(
        "dataset", "floor", space="1", start="2025-01-06", end="2025-01-07", interval_seconds=900
    ),
    replace(draft("concept", "group", about="no: yes, 'on' \"off\" # é“𝄞”"), status="retired"),
]


def test_every_kind_survives_export_and_import(tmp_path: Path) -> None:
    done = files.export(tmp_path, map(definition_of, EVERY_KIND))
    assert "device/rules/always_on.sql" in done.written
    assert "device/labelling_functions/in_python.py" in done.written
    assert "concepts/device.yml" in done.written
    read = {d.ref: replace(d, reads=None) for d in files.read_folder(tmp_path)}
    assert read == {d.ref: d for d in EVERY_KIND}
    again = files.export(tmp_path, map(definition_of, EVERY_KIND))
    assert (again.written, again.left_over) == ((), ())


def test_files_are_what_a_person_would_write(tmp_path: Path) -> None:
    files.export(tmp_path, [definition_of(EVERY_KIND[-6])])
    files.export(tmp_path, [definition_of(function("device.x"))])
    assert (tmp_path / "device/features/f.yml").read_text() == (
        "description: |-\n  Two\n  lines\nowner: ada\nindex: devices\n"
    )
    assert (tmp_path / "device/features/f.sql").read_text() == "SELECT 1\n"
    assert (tmp_path / "device/labelling_functions/x.yml").read_text() == (
        "owner: ada\nrule: always_on\nlabels:\n- STATIC\nconditions:\n"
        "- when: hours >= 15\n  label: STATIC\n"
    )


TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("\n\r\t \x85\u2028\ufeff'\"#:-|>{%}é𝄞\x7f\x1b"),
    max_size=60,
)


@given(TEXT)
@settings(max_examples=400, deadline=None)
def test_any_text_survives_yaml(text: str) -> None:
    assert yaml_text.load(yaml_text.dump({"a": text, "b": [text]})) == {"a": text, "b": [text]}
    assert yaml.safe_load(yaml_text.dump({"a": text})) == {"a": text}


@given(TEXT, TEXT, TEXT)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_definition_survives(tmp_path: Path, sql: str, about: str, owner: str) -> None:
    given_ = Draft(
        draft("rule", "device.a", index="i", sql="").ref,
        Rule(index="i", sql=sql),
        about.strip(),
        owner.strip(),
    )
    files.export(tmp_path, [definition_of(given_)])
    assert files.read_folder(tmp_path) == [given_]
    (tmp_path / "one.yml").write_bytes(files.document(given_).encode())
    assert files.read_file(tmp_path / "one.yml") == given_
    (tmp_path / "one.yml").unlink()


def put(folder: Path, path: str, text: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


RULE = "device/rules/a.yml"


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (RULE, "index: i\nsql: s\nsqll: t\n", "sqll: unknown field"),
        (RULE, "index: i\nsql: s\nsql: t\n", "line 3: sql is given twice"),
        (RULE, "index: i\n", "sql: required"),
        (RULE, "index: [i\n", "line 2: invalid YAML"),
        (RULE, "", "There are no fields"),
        (RULE, "- a\n", "There are no fields"),
        (RULE, "1: a\n", "is not a field"),
        (RULE, "a: &x [1]\nb: *x\n", "aliases"),
        (RULE, "index: !!python/object/apply:os.system [id]\n", "line 1: tags"),
        (RULE, "name: b\nindex: i\nsql: s\n", "name: 'b' does not match the path: 'a'"),
        (RULE, "name: ../../b\nindex: i\nsql: s\n", "does not match the path"),
        (RULE, "status: gone\nindex: i\nsql: s\n", "status: must be active or retired"),
        (RULE, "description: 5\nindex: i\nsql: s\n", "description: not a text"),
        (RULE, "index: i\nsql: s\n" + "#" * (1 << 20), "larger than"),
        ("device/rules/A.yml", "index: i\nsql: s\n", "is not a name"),
        ("device/rules/a.yaml", "index: i\nsql: s\n", "Rename it to .yml"),
        ("device/roles/a.yml", "index: i\nsql: s\n", "not a path of a definition"),
        ("rules/a.yml", "index: i\nsql: s\n", "not a path of a definition"),
        ("a.yml", "index: i\nsql: s\n", "not a path of a definition"),
        ("labels/rules/a.yml", "index: i\nsql: s\n", "A concept cannot be named 'labels'"),
        ("concepts/device.yml", "values:\n- name: NO\n- name: no\n", "quote it"),
        (
            "connections/c.yml",
            "dialect: sqlite\ndatabase: d\npassword: secret\n",
            "must not be in files",
        ),
        ("device/rules/a.sql", "SELECT 1", "no a.yml for it"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, path: str, text: str, said: str) -> None:
    put(tmp_path, path, text)
    with pytest.raises(BadInput) as caught:
        files.read_folder(tmp_path)
    assert caught.value.message.startswith(f"{path}: ")
    assert said in caught.value.message
    assert "secret" not in str(caught.value)


def test_long_texts_are_in_their_own_file_or_in_the_yaml(tmp_path: Path) -> None:
    put(tmp_path, RULE, "index: i\nsql: s\n")
    put(tmp_path, "device/rules/a.sql", "\ufeffSELECT 1\r\n")
    with pytest.raises(BadInput, match=r"also given in a\.sql"):
        files.read_folder(tmp_path)
    put(tmp_path, RULE, "index: i\n")
    (found,) = files.read_folder(tmp_path)
    assert found.body == Rule(index="i", sql="SELECT 1")
    put(tmp_path, "device/rules/a.py", "x")
    with pytest.raises(BadInput, match="the kind rule has no python"):
        files.read_folder(tmp_path)
    (tmp_path / "device/rules/a.py").unlink()
    (tmp_path / "device/rules/a.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(BadInput, match=r"not UTF-8 \(byte 8\)"):
        files.read_folder(tmp_path)


def test_links_are_refused_and_hidden_files_left_alone(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    put(folder, RULE, "index: i\nsql: s\n")
    put(folder, ".git/config.yml", "x")
    put(folder, "README.md", "about")
    outside.mkdir()
    assert len(files.read_folder(folder)) == 1
    os.symlink(outside, folder / "people")
    with pytest.raises(BadInput, match="people is a link"):
        files.read_folder(folder)
    with pytest.raises(BadInput, match="people is a link"):
        files.export(folder, map(definition_of, people()))
    assert list(outside.iterdir()) == []
    (folder / "people").unlink()
    os.mkfifo(folder / "device/rules/b.yml")
    with pytest.raises(BadInput, match="not a regular file"):
        files.read_folder(folder)


def test_leftover_files_are_removed_only_with_prune(tmp_path: Path) -> None:
    files.export(tmp_path, map(definition_of, device()))
    put(tmp_path, "README.md", "about")
    put(tmp_path, "notes/a.sql", "mine")
    left = files.export(tmp_path, map(definition_of, device()[:2])).left_over
    assert "device/rules/always_on.sql" in left
    assert (tmp_path / "device/rules/always_on.sql").is_file()
    files.export(tmp_path, map(definition_of, device()[:2]), prune=True)
    assert not (tmp_path / "device/rules/always_on.sql").exists()
    assert (tmp_path / "README.md").is_file()
    assert (tmp_path / "notes/a.sql").is_file()


def test_import_of_an_export_changes_nothing(deployment: Settings, tmp_path: Path) -> None:
    working = [d for d in EVERY_KIND if d.ref.kind != Kind.CONNECTION]
    store.save_all(deployment, working, by="ada")
    folder = tmp_path / "export"
    files.export(folder, store.list_definitions(deployment, retired=True))
    outcome = store.save_all(deployment, files.read_folder(folder), by="bob")
    assert set(outcome.values()) == {"unchanged"}
    put(folder, "device/rules/always_on.sql", "SELECT mac_address, 3 AS hours")
    outcome = store.save_all(deployment, files.read_folder(folder), by="bob")
    assert [str(r) for r, o in outcome.items() if o == "changed"] == ["device.always_on"]


def test_passwords_are_not_exported(tmp_path: Path) -> None:
    given_ = draft(
        "connection", "c", dialect="sqlite", database="d", password="token-of-the-password"
    )
    files.export(tmp_path, [definition_of(given_)])
    assert "token" not in (tmp_path / "connections/c.yml").read_text()
    assert "token" not in files.document(given_)


def test_an_impossible_path_does_not_exist() -> None:
    for path in (Path("x" * 300), Path("a\0b"), Path("/dev/null/x"), Path("x/" * 1500)):
        with pytest.raises(BadInput, match="There is no file") as caught:
            files.read_path(path)
        assert len(str(caught.value)) < 150
        with pytest.raises(BadInput, match="There is no folder"):
            files.read_folder(path)


ODD = [None, True, -1, 2**62, 1.5, float("inf"), "", "a b", "\0", "[", "x" * 5000, [], [["A"]], {},
       {"a": 1}, [{"name": ["x"]}], [None]]  # fmt: skip


def places(value: object, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each value within a value."""
    if above:
        yield above
    parts = list(value.items()) if isinstance(value, dict) else []
    parts = list(enumerate(value)) if isinstance(value, list) else parts
    for key, part in parts:
        yield from places(part, (*above, key))


@pytest.mark.parametrize("given_", EVERY_KIND, ids=lambda d: d.ref.kind.value)
def test_any_value_in_any_field_is_accepted_or_refused_briefly(given_: Draft) -> None:
    plain = yaml_text.load(files.document(given_))
    for way in places(plain):
        for odd in ODD:
            changed = copy.deepcopy(plain)
            at = changed
            for key in way[:-1]:
                at = at[key]
            at[way[-1]] = odd
            content = {PurePosixPath("a.yml"): yaml_text.dump(changed).encode()}
            try:
                check_form(files.read_contents(PurePosixPath("a.yml"), content))
            except BadInput as error:
                said = str(error)
            else:
                said = ""
            assert len(said) < 1500

"""Translating user SQL to dbt models and to SQL that can be run."""

from __future__ import annotations

import unicodedata

import jinja2
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.sql.definitions import catalog, saved
from tests.sql.test_guard import DEVICES, NAMES, VALID, given
from tippers_dagster.catalog.kinds import Connection, ConnectionTable, Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.settings import Settings
from tippers_dagster.sql.check import references, translated
from tippers_dagster.sql.names import NameTable, Place
from tippers_dagster.sql.refusals import RefusedSQL
from tippers_dagster.sql.translate import translate

RENDER = jinja2.Environment(autoescape=False)


def words(sql: str) -> str:
    return " ".join(sql.split())


def rendered(sql_jinja: str) -> str:
    """A model as dbt would compile it, with the places in ``NAMES``."""
    return RENDER.from_string(sql_jinja).render(
        ref=lambda model: ("indexes." if "__" in model else "staging.") + model,
        source=lambda source, table: f"{source}.{table}",
    )


def test_tables_become_references() -> None:
    found = given("select mac_address from user_ap_trajectory join devices using (mac_address)")
    assert words(found.sql_jinja) == (
        "SELECT mac_address FROM {{ ref('stg_user_ap_trajectory') }} AS user_ap_trajectory "
        "JOIN {{ ref('device__devices') }} AS devices USING (mac_address)"
    )
    assert "FROM staging.stg_user_ap_trajectory AS user_ap_trajectory" in found.sql_plain
    assert "JOIN indexes.device__devices AS devices" in found.sql_plain
    assert found.refs == {DEVICES}


@pytest.mark.parametrize(
    "condition",
    [
        "mac_address in (:index_values)",
        "mac_address IN(:index_values)",
        "mac_address in :index_values",
        "mac_address = any(:index_values)",
        "mac_address in (%(index_values)s)",
        "mac_address in ((:index_values))",
    ],
)
def test_index_values_become_a_subquery(condition: str) -> None:
    found = given(f"select mac_address from user_ap_trajectory where {condition}")
    assert words(found.sql_jinja).endswith(
        "WHERE mac_address IN ( SELECT entity.mac_address "
        "FROM {{ ref('device__devices') }} AS entity )"
    )
    assert found.refs == {DEVICES}


def test_index_values_are_refused_in_an_index() -> None:
    with pytest.raises(RefusedSQL, match="entities of an index") as caught:
        translate(
            "select mac_address from space where mac_address in (:index_values)",
            concept="device",
            index=None,
            key=None,
            names=NAMES,
        )
    assert caught.value.reason == "index_values"


def test_with_names_hide_tables_only_in_their_scope() -> None:
    found = given(
        "with space as (select space_id from space) "
        "select * from space, (select * from user_ap_trajectory) q"
    )
    assert found.sql_plain.count("staging.stg_space") == 1
    assert words(found.sql_plain).endswith(
        "FROM space, ( SELECT * FROM staging.stg_user_ap_trajectory AS user_ap_trajectory ) AS q"
    )


def test_the_text_of_a_model_renders_to_the_plain_text() -> None:
    for sql in VALID:
        found = given(sql)
        assert rendered(found.sql_jinja) == found.sql_plain


def printable(text: str) -> bool:
    seen = text.replace("\t", "").replace("\n", "").replace("\r\n", "")
    return all(unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in seen)


@hypothesis_settings(max_examples=300, deadline=None)
@hypothesis_given(
    st.text(st.sampled_from(list("{}%#'\"$\\-/*;:() azqn0_\n")) | st.characters(), max_size=30)
)
def test_user_text_is_never_a_template(text: str) -> None:
    literal = text.replace("'", "''")
    sql = f"select '{literal}' as a, '{{' || '{literal}' || '{{' as b from space"
    if any(sign in sql for sign in ("{{", "{%", "{#")) or not printable(text):
        with pytest.raises(RefusedSQL):
            given(sql)
        return
    found = given(sql)
    assert rendered(found.sql_jinja) == found.sql_plain
    assert f"'{literal}' AS a" in found.sql_plain


def test_positions_refer_to_the_users_text() -> None:
    sql = "select  mac_address,\n space_id from space"
    found = given(sql)
    for offset, length, start in found.names:
        name = found.sql_plain[offset : offset + length]
        assert name.rpartition("_")[2] in sql[start:] or start == -1
        if name == "space_id":
            assert sql[start : start + 8] == "space_id"


def test_a_connection_whose_table_has_a_dangerous_name_cannot_be_named(stack: Settings) -> None:
    tables = ("Orders", "x'; drop", "a') }}{{ evil(")
    body = Connection(
        dialect="sqlite", database="/x", tables=tuple(ConnectionTable(name=t) for t in tables)
    )
    names = NameTable.of(catalog(saved(Kind.CONNECTION, "", "shop", body)), stack)
    place = Place("connection_shop", "Orders", "source('connection_shop', 'Orders')")
    assert names.find(("connection_shop", "orders"), "device") == place
    found = translate(
        "select * from connection_shop.orders o",
        concept="device",
        index=None,
        key=None,
        names=names,
    )
    assert words(found.sql_plain) == 'SELECT * FROM connection_shop."Orders" AS o'
    assert all("evil" not in name for name in names.near(("evil",), "device"))


def test_names_of_a_deployment(stack: Settings) -> None:
    renamed = stack.model_copy(update={"session_table": "wifi_log", "source_schema": "campus"})
    names = NameTable.of(catalog(), renamed)
    sessions = Place("staging", "stg_user_ap_trajectory", "ref('stg_user_ap_trajectory')")
    for name in ("wifi_log", "user_ap_trajectory", "user_location_trajectory"):
        assert names.find((name,), "device") == sessions
        assert names.find(("campus", name), "device") == sessions
    assert names.find(("int_sessions",), "people") is not None
    assert names.find(("chosen",), "device") == names.find(("device", "chosen"), "people")
    assert names.find(("chosen",), "people") is None
    model = Place("labels", "device__type", "source('labels', 'device__type')")
    assert names.find(("device", "type"), "x").ref == Ref("device", "type", Kind.LABEL_MODEL)
    assert names.find(("labels", "device__type"), "x").jinja == model.jinja
    assert names.kind_without_table(("is_a",), "device") == "labelling function"


def test_references_of_definitions(stack: Settings) -> None:
    found = catalog()
    numbers = found.get("device", "numbers")
    chosen = Ref("device", "chosen", Kind.DERIVED_INDEX)
    assert references(stack, numbers, found) == {chosen}
    assert references(stack, found.get("device", "devices"), found) == set()
    assert "{{ ref('device__chosen') }}" in translated(stack, numbers, found).sql_jinja

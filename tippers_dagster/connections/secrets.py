"""Stores passwords of connections, encrypted with keys that are not in the database.

A token contains the server's address besides the password, so a token copied into another
definition is useless there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tippers_dagster.catalog.editing import LOCK
from tippers_dagster.catalog.kinds import Connection, Kind
from tippers_dagster.catalog.tables import definition, definition_version
from tippers_dagster.errors import SettingsError, TippersError
from tippers_dagster.platform.keys import replace_secret, write_secret_once
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.fernet import MultiFernet

SETTING = "TIPPERS_SECRETS_KEYS"
HINT = (
    "Create one with: python -c 'from cryptography.fernet import Fernet as F; "
    "print(F.generate_key().decode())'"
)


class UnreadablePassword(TippersError):
    """A stored password was encrypted with an unknown key, or for another server."""


def encrypt(settings: Settings, password: str, body: Connection) -> str:
    """The token of a password, for the connection's server."""
    sealed = json.dumps({"password": password, "place": _place(body)})
    return _fernet(settings).encrypt(sealed.encode()).decode()


def decrypt(settings: Settings, name: str, body: Connection) -> str | None:
    """The password of a connection; None if it has none.

    Raises
    ------
    UnreadablePassword
        Names the connection, if no key decrypts the token or it belongs to another server.
    """
    if body.password is None:
        return None
    sealed = json.loads(_open(settings, name, body.password))
    if sealed["place"] != _place(body):
        raise UnreadablePassword(
            f"The password of the connection {name} was set for another server.",
            f"Set it again: tippers connections edit {name} --password-stdin",
        )
    return sealed["password"]


def rotate(settings: Settings) -> int:
    """Re-encrypt all stored passwords with the newest key; returns the number of connections.

    All in one transaction, including past versions of definitions, which can be restored. Keys in
    the home's file are replaced by a new one. Keys in the settings stay: put a new one before the
    others, rotate, then remove the others.

    Raises
    ------
    UnreadablePassword
        Names a connection whose password no key decrypts; then nothing is changed.
    """
    with _no_password_saved(settings) as connection:
        if settings.secrets_keys is None:
            _put_new_key_first(settings)
        _rotate_table(settings, connection, definition_version)
        count = _rotate_table(settings, connection, definition)
    if settings.secrets_keys is None:
        # Only now is it certain that the new tokens are stored.
        with _no_password_saved(settings) as connection:
            _remove_old_keys(settings, connection)
    return count


@contextmanager
def _no_password_saved(settings: Settings) -> Iterator[sa.Connection]:
    """A transaction in which no other process saves a password, or rotates the keys."""
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield connection


def _remove_old_keys(settings: Settings, connection: sa.Connection) -> None:
    """Keep only the newest key in the home's file, if it decrypts every password."""
    from cryptography.fernet import Fernet, InvalidToken

    path = secrets_file(settings)
    newest = path.read_text().split()[0]
    for table in (definition, definition_version):
        for row in _tokens(connection, table):
            try:
                Fernet(newest).decrypt(row["token"].encode())
            except InvalidToken:
                return
    replace_secret(path, newest)


def undecryptable(settings: Settings) -> list[str]:
    """The connections with a stored password that no key decrypts."""
    from cryptography.fernet import InvalidToken

    with warehouse_engine(settings).connect() as connection:
        rows = _tokens(connection, definition)
    found = []
    for row in rows:
        try:
            _fernet(settings).decrypt(row["token"].encode())
        except InvalidToken:
            found.append(str(row["of"]))
    return sorted(found)


def secrets_file(settings: Settings) -> Path:
    """The file with the keys, newest first, unless they are a setting."""
    return settings.home_path / "secrets_keys"


def secrets_keys(settings: Settings) -> list[str] | None:
    """The keys in use, newest first; None if no password was ever stored."""
    if settings.secrets_keys is None and not secrets_file(settings).exists():
        return None
    return _keys(settings)


def _place(body: Connection) -> str:
    return json.dumps([body.dialect, body.host, body.port])


def _open(settings: Settings, name: str, token: str) -> bytes:
    from cryptography.fernet import InvalidToken

    try:
        return _fernet(settings).decrypt(token.encode())
    except InvalidToken:
        raise _unreadable(settings, name) from None


def _unreadable(settings: Settings, name: str) -> UnreadablePassword:
    held = SETTING if settings.secrets_keys is not None else str(secrets_file(settings))
    return UnreadablePassword(
        f"The password of the connection {name} cannot be decrypted: its key is not in {held}.",
        f"Add that key after the others, or set the password again: "
        f"tippers connections edit {name} --password-stdin",
    )


def _fernet(settings: Settings) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet

    try:
        return MultiFernet([Fernet(key) for key in _keys(settings)])
    except ValueError:
        place = SETTING if settings.secrets_keys is not None else secrets_file(settings)
        raise SettingsError(
            f"{place} does not contain Fernet keys (32 bytes each, in URL-safe base64).", HINT
        ) from None


def _keys(settings: Settings) -> list[str]:
    if settings.secrets_keys is not None:
        keys = settings.secrets_keys.get_secret_value().split(",")
        return [key.strip() for key in keys]
    path = secrets_file(settings)
    if not path.exists():
        write_secret_once(path, _new_key())
    return path.read_text().split()


def _new_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _put_new_key_first(settings: Settings) -> None:
    """Add a new key: new tokens use it, and tokens of old keys can still be read."""
    replace_secret(secrets_file(settings), "\n".join([_new_key(), *_keys(settings)]))


def _tokens(connection: sa.Connection, table: sa.Table) -> Sequence[sa.RowMapping]:
    """The tokens of one table, with its primary key and the connections' names (``of``)."""
    token = table.c.body["password"].astext
    query = sa.select(*table.primary_key, table.c.name.label("of"), token.label("token"))
    has_token = sa.and_(table.c.kind == Kind.CONNECTION.value, token.is_not(None))
    return connection.execute(query.where(has_token)).mappings().all()


def _rotate_table(settings: Settings, connection: sa.Connection, table: sa.Table) -> int:
    """Re-encrypt the tokens of one table; returns their number."""
    keys = list(table.primary_key)
    rows = _tokens(connection, table)
    if not rows:
        return 0
    matches = sa.and_(*(key == sa.bindparam(f"old_{key.name}") for key in keys))
    new = sa.func.jsonb_build_object("password", sa.cast(sa.bindparam("new"), sa.Text))
    update = sa.update(table).where(matches).values(body=table.c.body.op("||")(new))
    connection.execute(update, [_re_encrypted(settings, row, keys) for row in rows])
    return len(rows)


def _re_encrypted(
    settings: Settings, row: sa.RowMapping, keys: list[sa.Column[Any]]
) -> dict[str, object]:
    from cryptography.fernet import InvalidToken

    try:
        token = _fernet(settings).rotate(row["token"].encode()).decode()
    except InvalidToken:
        raise _unreadable(settings, row["of"]) from None
    return {"new": token, **{f"old_{key.name}": row[key.name] for key in keys}}

"""The key of the device hash, and secrets in files of the home."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.home import private_home
from tippers_dagster.settings import Settings

HINT = "Make one with: openssl rand -hex 32"


def device_key(settings: Settings) -> bytes:
    """The key, 16 to 64 bytes; if not set, created at first use in ``<home>/device_key``.

    The file holds hexadecimal digits, like ``TIPPERS_DEVICE_KEY``. Many processes may call this at
    the same time: all get the same key.

    Raises
    ------
    SettingsError
        When the setting or the file does not hold a key. The message does not show the value.
    """
    if settings.device_key is not None:
        return _parse(settings.device_key.get_secret_value(), "TIPPERS_DEVICE_KEY")
    path = device_key_file(settings)
    private_home(settings.home_path)
    if not path.exists():
        write_secret_once(path, secrets.token_hex(32))
    return _parse(path.read_text(), str(path))


def device_key_file(settings: Settings) -> Path:
    """The file of the key, used when the setting is not set."""
    return settings.home_path / "device_key"


def _parse(text: str, place: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if not 16 <= len(key) <= 64:
        raise SettingsError(f"{place} is not a key of 32 to 128 hexadecimal digits.", HINT)
    return key


def write_secret_once(path: Path, secret: str) -> None:
    """Write a secret to a file that only its owner may read; an existing file stays unchanged.

    Atomic: the file is written under another name, then linked. The first of several calls wins.
    """
    draft = _draft(path, secret)
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def replace_secret(path: Path, secret: str) -> None:
    """Replace a secret in its file, atomically; only the owner may read it."""
    os.replace(_draft(path, secret), path)


def _draft(path: Path, secret: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft

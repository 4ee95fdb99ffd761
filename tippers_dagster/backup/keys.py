"""The keys and secrets of a home, in a backup: readable, or encrypted with a passphrase."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tippers_dagster.access.login import login_file
from tippers_dagster.backup.folder import Backup, create
from tippers_dagster.backup.manifest import BackupError, Manifest
from tippers_dagster.connections.secrets import secrets_file, secrets_keys
from tippers_dagster.platform.keys import device_key, device_key_file, write_secret_once
from tippers_dagster.settings import Settings

FILE = "keys.json"
MAX_BYTES = 1 << 20
MIN_PASSPHRASE = 12


@dataclass(frozen=True)
class Keys:
    """The device key (hexadecimal), the keys of stored passwords, newest first, and the file with
    the app's login; the last two may be missing.
    """

    device_key: str
    secrets_keys: list[str] | None
    login: str | None

    def __repr__(self) -> str:
        return "Keys(...)"


def read_passphrase(path: Path) -> bytes:
    """The passphrase in a file, without the line break at its end.

    Raises
    ------
    BackupError
        When it is not a file, or its passphrase is too short.
    """
    try:
        found = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise BackupError(
            f"The passphrase cannot be read from {path}: {error.strerror}.",
            "Name a file with the passphrase in it.",
        ) from None
    if len(found) < MIN_PASSPHRASE:
        raise BackupError(
            f"The passphrase in {path} is shorter than {MIN_PASSPHRASE} bytes.",
            "Make one with: openssl rand -base64 24",
        )
    return found


def key_print(settings: Settings) -> str:
    """A fingerprint of the device key, which reveals nothing of it."""
    return _print(device_key(settings))


def _print(key: bytes) -> str:
    return hashlib.sha256(b"tippers backup" + key).hexdigest()


def keys_of(settings: Settings) -> Keys:
    """The keys that a deployment uses, from its settings or its home."""
    login = login_file(settings)
    return Keys(
        device_key(settings).hex(),
        secrets_keys(settings),
        login.read_text() if login.is_file() else None,
    )


def with_older(keys: Keys, before: Keys) -> Keys:
    """The keys, and after them the keys of stored passwords that were in use before."""
    if before.secrets_keys is None:
        return keys
    both = dict.fromkeys([*(keys.secrets_keys or ()), *before.secrets_keys])
    return replace(keys, secrets_keys=list(both))


def write_keys(folder: Path, keys: Keys, passphrase: bytes | None) -> None:
    """Write the keys to a new file of a backup, encrypted if there is a passphrase."""
    content: dict[str, Any] = {
        "device_key": keys.device_key,
        "secrets_keys": keys.secrets_keys,
        "login": keys.login,
    }
    if passphrase is not None:
        salt = os.urandom(16)
        token = _fernet(passphrase, salt).encrypt(json.dumps(content).encode())
        content = {"salt": salt.hex(), "encrypted": token.decode()}
    with create(folder, FILE) as file:
        file.write(json.dumps(content).encode())


def read_keys(backup: Backup, manifest: Manifest, passphrase: bytes | None) -> Keys | None:
    """The keys in a backup; None if it has none.

    Raises
    ------
    BackupError
        When they are encrypted and the passphrase is missing or wrong, or the file is damaged.
    """
    if manifest.keys == "none":
        return None
    with backup.open(FILE) as file:
        text = file.read(MAX_BYTES)
    try:
        content = json.loads(text)
        if manifest.keys == "encrypted":
            content = _decrypted(content, passphrase)
        secrets, login = content["secrets_keys"], content["login"]
        keys = Keys(str(content["device_key"]), secrets, login)
        right = 16 <= len(bytes.fromhex(keys.device_key)) <= 64 and _are_fernet_keys(secrets)
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{FILE} of the backup is damaged.", "Use another backup.") from None
    if not right or not (login is None or isinstance(login, str)):
        raise BackupError(f"{FILE} of the backup is damaged.", "Use another backup.")
    return keys


def _are_fernet_keys(keys: Any) -> bool:
    """Whether it is a list of keys, or None; errors as of Fernet."""
    from cryptography.fernet import Fernet

    if not isinstance(keys, list):
        return keys is None
    for key in keys:
        Fernet(key)
    return all(isinstance(key, str) for key in keys) and bool(keys)


def _decrypted(content: dict[str, Any], passphrase: bytes | None) -> Any:
    from cryptography.fernet import InvalidToken

    if passphrase is None:
        raise BackupError(
            "The keys in the backup are encrypted.", "Name the passphrase: --passphrase-file FILE"
        )
    try:
        salt, token = bytes.fromhex(content["salt"]), content["encrypted"].encode()
        return json.loads(_fernet(passphrase, salt).decrypt(token))
    except InvalidToken:
        raise BackupError(
            "The keys in the backup cannot be decrypted: the passphrase is another one, or the "
            "file is damaged.",
            "Check the file of --passphrase-file.",
        ) from None


def _fernet(passphrase: bytes, salt: bytes) -> Any:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    derived = Scrypt(salt=salt, length=32, n=1 << 16, r=8, p=1).derive(passphrase)
    return Fernet(base64.urlsafe_b64encode(derived))


# --- restoring ----------------------------------------------------------------------------------
def check_keys(settings: Settings, manifest: Manifest, keys: Keys | None) -> None:
    """Check that the restored deployment will have the keys of the backup.

    Raises
    ------
    BackupError
        When the settings, the home or the backup's file of keys have the key of another
        deployment, or none can be had.
    """
    present = settings.device_key is not None or device_key_file(settings).exists()
    if keys is None and not present:
        raise BackupError(
            "The backup has no keys, and this home has no device key.",
            "Set TIPPERS_DEVICE_KEY, or put the file device_key of the home that was backed up "
            f"into {settings.home_path}.",
        )
    if present and key_print(settings) != manifest.key_print:
        raise BackupError(
            "This deployment's device key is not the one of the backup.",
            "Set TIPPERS_DEVICE_KEY to that of the deployment that was backed up, or leave it "
            f"unset and remove {device_key_file(settings)}: the backup's key is then restored.",
        )
    if keys is not None and _print(bytes.fromhex(keys.device_key)) != manifest.key_print:
        raise BackupError(
            f"{FILE} of the backup has the device key of another deployment.",
            "Use another backup, or the file of keys that belongs to this one.",
        )
    if keys is not None and settings.secrets_keys is not None:
        missing = set(keys.secrets_keys or ()).difference(secrets_keys(settings) or ())
        if missing:
            raise BackupError(
                "TIPPERS_SECRETS_KEYS lacks a key with which passwords in the backup are "
                "encrypted.",
                "Add the keys of the deployment that was backed up after the others, or leave it "
                "unset: they are then restored.",
            )


def restore_keys(settings: Settings, keys: Keys) -> None:
    """Write the keys into the home, unless the settings or the home have them already."""
    if settings.device_key is None:
        write_secret_once(device_key_file(settings), keys.device_key)
    if settings.secrets_keys is None and keys.secrets_keys:
        write_secret_once(secrets_file(settings), "\n".join(keys.secrets_keys))
    if settings.streamlit_secrets is None and keys.login is not None:
        write_secret_once(login_file(settings), keys.login)

"""Exports a checked model to its own folder, for serving or loading without MLflow's store."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.mlflow.model_files import ModelFile, digest_of

README, ABOUT, EXAMPLE = "README.md", "export.json", "example.json"

_TEXT = """# {model}, version {version}

Exported by tippers, after comparing the model's file with the digest recorded at registration
(`{about}`). The rest of this folder was written by tippers, not copied from MLflow. MLflow runs
the code that a model's folder names: keep this folder where nobody else can write.

Load it with MLflow, in an environment with the packages of `requirements.txt`:

```python
import mlflow
model = mlflow.pyfunc.load_model("{folder}")
```

Serve it, with that environment activated. The server has no login: put an authenticating proxy in
front before you share it:

```
mlflow models serve -m {folder} --env-manager local --host 127.0.0.1 --port 5391
curl http://127.0.0.1:5391/invocations -H 'Content-Type: application/json' -d @{folder}/{example}
```
"""


def export_folder(
    to: Path,
    recorded: ModelFile,
    content: bytes,
    example: dict[str, Any],
    save: Callable[[Path], None],
) -> None:
    """Write a model to a new folder, completely or not at all; only its owner can read it.

    Parameters
    ----------
    content
        The checked content of the model's file.
    example
        A request to a server of the model, as JSON.
    save
        Writes an MLflow model to a folder; its file is then replaced by ``content``.

    Raises
    ------
    BadInput
        When the folder has content, or cannot be written.
    """
    to = to.expanduser().absolute()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BadInput(f"{to} already exists.", "Give a folder that does not exist or is empty.")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=to.parent, prefix=f".{to.name}-"))
    except OSError as error:
        raise BadInput(f"{to} cannot be written: {error.strerror}.") from None
    try:
        save(made)
        (made / recorded.path).write_bytes(content)
        _describe(made, to, recorded, content, example)
        made.rename(to)
    except OSError as error:
        raise BadInput(f"{to} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _describe(
    folder: Path, to: Path, recorded: ModelFile, content: bytes, example: dict[str, Any]
) -> None:
    about = {
        "model": recorded.model,
        "version": recorded.version,
        "asset_version": recorded.asset_version,
        "format": recorded.format,
        "file": recorded.path,
        "sha256": digest_of(content),
        "exported_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    names = {"about": ABOUT, "example": EXAMPLE, "folder": to}
    text = _TEXT.format(model=recorded.model, version=recorded.version, **names)
    (folder / README).write_text(text)
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    (folder / EXAMPLE).write_text(json.dumps(example, indent=2) + "\n")

"""A definition with the parts common to all kinds, and references to definitions."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tippers_dagster.catalog.kinds import Body, Kind

Status = Literal["active", "retired"]


@dataclass(frozen=True, order=True)
class Ref:
    """The name of a definition. ``concept`` is empty for concepts, connections and datasets.

    Names are unique within a concept, across kinds. Concepts, connections and datasets each have
    their own namespace, so they are written with their kind in place of the concept.
    """

    concept: str
    name: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.concept or self.kind.value}.{self.name}"

    @property
    def namespace(self) -> str:
        """Where the name must be unique: the concept, or the kind followed by a dot."""
        return self.concept or f"{self.kind.value}."

    @property
    def model_name(self) -> str:
        """The name of its dbt model and warehouse table."""
        return f"{self.concept}__{self.name}"

    @property
    def asset_path(self) -> tuple[str, ...]:
        """The path of its asset key; for a forecaster, that of its backtest."""
        return (self.concept or self.kind.value, self.name)

    @property
    def asset_name(self) -> str:
        """The path of its asset key as one string, as used in links and states."""
        return "/".join(self.asset_path)


@dataclass(frozen=True)
class Definition:
    """The current version of a definition.

    ``origin`` "git": it is in the project's files, has version 0 and no history. A saved definition
    of the same name replaces it.

    ``reads``: the definitions that its SQL reads, as ``concept.name``, besides those named by
    fields of its body.
    """

    ref: Ref
    body: Body
    description: str = ""
    owner: str = ""
    status: Status = "active"
    version: int = 0
    updated_at: dt.datetime | None = None
    updated_by: str = ""
    origin: Literal["catalog", "git"] = "catalog"
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """An author's version of a definition before it is saved.

    ``reads`` as in ``Definition``; None: not known yet.
    """

    ref: Ref
    body: Body
    description: str = ""
    owner: str = ""
    status: Status = "active"
    reads: tuple[str, ...] | None = None


class Unreadable(Body):
    """Replaces a body that this version cannot use; ``reason`` is a message for its author."""

    reason: str
    raw: dict[str, object] = Field(default_factory=dict)

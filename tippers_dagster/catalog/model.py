"""A definition with all that is the same for every kind, and the way one names another."""

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

    Names are unique in their concept, whatever the kind; concepts, connections and datasets each
    have names of their own, and so carry their kind in ``concept``'s place when written.
    """

    concept: str
    name: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.concept or self.kind.value}.{self.name}"

    @property
    def namespace(self) -> str:
        """Where its name is unique: the concept, or the kind before a dot."""
        return self.concept or f"{self.kind.value}."

    @property
    def model_name(self) -> str:
        """The name of its dbt model, and of its table in the warehouse."""
        return f"{self.concept}__{self.name}"

    @property
    def asset_path(self) -> tuple[str, ...]:
        """The path of its asset key; for a forecaster, that of its backtest."""
        return (self.concept or self.kind.value, self.name)

    @property
    def asset_name(self) -> str:
        """The path of its asset key as one string, as in links and states."""
        return "/".join(self.asset_path)


@dataclass(frozen=True)
class Definition:
    """One definition in its current version.

    ``origin`` "git": it comes with the project's files, has version 0 and no history. A saved
    definition of the same name takes its place.

    ``reads``: the definitions that its SQL text reads, as ``concept.name``, besides those that
    fields of its body name.
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
    """What an author decides about a definition, before it is saved.

    ``reads`` is as in ``Definition``; ``None``: not yet known.
    """

    ref: Ref
    body: Body
    description: str = ""
    owner: str = ""
    status: Status = "active"
    reads: tuple[str, ...] | None = None


class Unreadable(Body):
    """Stands for a body that this version cannot use; ``reason`` is a sentence for its author."""

    reason: str
    raw: dict[str, object] = Field(default_factory=dict)

"""Names as people write them, and bodies as they come from outside."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from tippers_dagster.catalog.kinds import BODIES, Body, Kind, Name
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import shown

RESERVED_CONCEPTS = frozenset(
    {
        *(kind.value for kind in Kind if not kind.in_concept),
        *(f"{kind.value}s" for kind in Kind if not kind.in_concept),
        # Schemas of the warehouse and first parts of asset keys, which SQL and graphs name.
        *("staging", "indexes", "rules", "features", "labels", "source", "public", "tippers"),
        *("information_schema", "saved"),
    }
)
"""Concepts of these names could not be told from something else."""

LONGEST_PAIR = 63 - len("__")
"""The names of a concept and of what is in it: together one identifier of PostgreSQL."""

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_ref(ref: Ref) -> None:
    """Refuse names that cannot be used.

    Raises
    ------
    BadInput
        Not lower snake case, too long, reserved, or with a concept where none belongs.
    """
    if bool(ref.concept) != ref.kind.in_concept:
        raise BadInput(
            f"{ref.name!r:.60} needs a concept."
            if ref.kind.in_concept
            else f"A {ref.kind.value} belongs to no concept."
        )
    for part in (ref.concept, ref.name) if ref.concept else (ref.name,):
        _check_name(part)
    if len(ref.concept) + len(ref.name) > LONGEST_PAIR:
        raise BadInput(
            f"The name {shown(str(ref))} is too long.",
            f"The names of concept and definition may have {LONGEST_PAIR} characters together.",
        )
    concept = ref.name if ref.kind == Kind.CONCEPT else ref.concept
    if concept in RESERVED_CONCEPTS or concept.startswith(("connection_", "pg_")):
        raise BadInput(f"No concept can be named {concept!r}.", "Take another name.")


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise BadInput(_sentence(error.errors()[0]["msg"])) from None


def read_body(kind: Kind, given: Mapping[str, object]) -> Body:
    """The body of a definition from plain values, as from YAML, JSON or a form.

    Raises
    ------
    BadInput
        A line for each field that is wrong, missing or unknown; never a password.
    """
    try:
        return BODIES[kind].model_validate(given)
    except ValidationError as error:
        raise BadInput("\n".join(field_errors(error))) from None


def field_errors(error: ValidationError) -> list[str]:
    """A sentence for each field that is wrong."""
    lines = []
    for found in error.errors(include_url=False):
        field = shown(".".join(str(part) for part in found["loc"])) or "the whole"
        if found["type"] == "extra_forbidden":
            lines.append(f"{field}: there is no such field.")
        elif found["type"] == "missing":
            lines.append(f"{field}: is missing.")
        elif found["type"] == "string_type" and isinstance(found["input"], bool):
            lines.append(f"{field}: YAML takes yes, no, on and off for true and false; quote it.")
        else:
            lines.append(f"{field}: {_sentence(found['msg'])}")
    return lines


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message if message.endswith(".") else f"{message}."

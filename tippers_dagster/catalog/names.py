"""Validates names, and reads bodies from plain values."""

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
        # Warehouse schemas and first parts of asset keys, which SQL and graphs use.
        *("staging", "indexes", "rules", "features", "labels", "source", "public", "tippers"),
        *("information_schema", "saved"),
    }
)
"""Names that concepts cannot have, because they would be ambiguous."""

MAX_FULL_NAME = 63 - len("__")
"""Maximum length of concept and name together: they form one PostgreSQL identifier."""

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_ref(ref: Ref) -> None:
    """Refuse invalid names.

    Raises
    ------
    BadInput
        Not lower snake case, too long, reserved, without a required concept or with a needless one.
    """
    if bool(ref.concept) != ref.kind.in_concept:
        raise BadInput(
            f"{ref.name!r:.60} needs a concept."
            if ref.kind.in_concept
            else f"A {ref.kind.value} belongs to no concept."
        )
    for part in (ref.concept, ref.name) if ref.concept else (ref.name,):
        _check_name(part)
    if len(ref.concept) + len(ref.name) > MAX_FULL_NAME:
        raise BadInput(
            f"The name {shown(str(ref))} is too long.",
            f"The concept's and the definition's name together may have {MAX_FULL_NAME} "
            "characters.",
        )
    concept = ref.name if ref.kind == Kind.CONCEPT else ref.concept
    if concept in RESERVED_CONCEPTS or concept.startswith(("connection_", "pg_")):
        raise BadInput(f"A concept cannot be named {concept!r}.", "Choose another name.")


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise BadInput(_sentence(error.errors()[0]["msg"])) from None


def read_body(kind: Kind, given: Mapping[str, object]) -> Body:
    """The body of a definition from plain values, as in YAML, JSON or a form.

    Raises
    ------
    BadInput
        A line for each wrong, missing or unknown field; never shows a password.
    """
    try:
        return BODIES[kind].model_validate(given)
    except ValidationError as error:
        raise BadInput("\n".join(field_errors(error))) from None


def field_errors(error: ValidationError) -> list[str]:
    """A message for each field that is wrong."""
    lines = []
    for found in error.errors(include_url=False):
        field = shown(".".join(str(part) for part in found["loc"])) or "the definition"
        if found["type"] == "extra_forbidden":
            lines.append(f"{field}: unknown field.")
        elif found["type"] == "missing":
            lines.append(f"{field}: required.")
        elif found["type"] == "string_type" and isinstance(found["input"], bool):
            lines.append(f"{field}: YAML reads yes, no, on and off as true and false; quote it.")
        else:
            lines.append(f"{field}: {_sentence(found['msg'])}")
    return lines


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message if message.endswith(".") else f"{message}."

"""The SQL of hand-written dbt models without Jinja, as an analyst would write it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tippers_dagster.platform.identifiers import quote_identifier

if TYPE_CHECKING:
    from jinja2 import Environment

_SIMPLE = re.compile(r"[a-z_][a-z0-9_]*")
_BLANK_LINES = re.compile(r"\n[ \t]*(?=\n)")


class PlainSql:
    """Renders the models of a project.

    Parameters
    ----------
    project
        The folder of the dbt project; its own macros are known, those of packages are not.
    timezone
        The dbt variable ``timezone``.
    """

    def __init__(self, project: Path, timezone: str) -> None:
        self._environment = _environment(project, timezone)

    def __call__(self, text: str) -> str:
        """The text of a model, with names of definitions and staging models in place of references.

        If it uses other dbt features than references and the project's macros, it is left
        unchanged.
        """
        from jinja2 import TemplateError

        try:
            found = self._environment.from_string(text).render()
        except (TemplateError, TypeError):
            return text
        return _BLANK_LINES.sub("", found).strip()


def _environment(project: Path, timezone: str) -> Environment:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False)
    environment.globals = {
        "ref": _name,
        "source": lambda source, table: _name(table) if source == "labels" else f"{source}.{table}",
        "var": {"timezone": timezone}.__getitem__,
        "config": lambda *_, **__: "",
        "adapter": SimpleNamespace(quote=_quote),
        "dbt": SimpleNamespace(string_literal=_literal),
    }
    # One template: macros only know those in their own template.
    texts = (path.read_text() for path in sorted((project / "macros").glob("*.sql")))
    macros = environment.from_string("\n".join(t for t in texts if _parses(environment, t)))
    environment.globals.update(_macros(macros.module))
    return environment


def _parses(environment: Environment, text: str) -> bool:
    """Whether a file of macros is plain Jinja; dbt extends the language."""
    from jinja2 import TemplateSyntaxError

    try:
        environment.parse(text)
    except TemplateSyntaxError:
        return False
    return True


def _macros(module: object) -> dict[str, Any]:
    from jinja2.runtime import Macro

    return {name: value for name, value in vars(module).items() if isinstance(value, Macro)}


def _name(model: str) -> str:
    """``concept.name`` for a definition's model."""
    return model.replace("__", ".", 1)


def _quote(name: str) -> str:
    return name if _SIMPLE.fullmatch(name) else quote_identifier(name)


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))

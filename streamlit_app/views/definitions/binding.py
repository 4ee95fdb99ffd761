"""Widgets bound to a form: they show what it contains and write back what is typed.

The content is kept in the form's ``Edit``, not in the widgets, which lose it when the page is left.
A widget gets its content as its default rather than through ``st.session_state``: Streamlit sends
such a value to the browser only once, and it is lost if the next click ends that run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from streamlit_app.services.definitions.edit import Edit
from streamlit_app.ui.editor import Language, Problem, code_editor, current_text

_Bound = dict[str, tuple[dict[str, Any], str]]
"""By widget key: the dictionary that the widget changes, and the name in it."""


class Form:
    """The widgets of one definition.

    Parameters
    ----------
    edit
        Its content.
    name
        Distinguishes the widgets of different definitions.
    locked
        Whether the form is read only.
    """

    def __init__(self, edit: Edit, name: str, *, locked: bool = False) -> None:
        self.edit, self.name, self.locked = edit, name, locked
        self._shown = (edit.serial, edit.generation)
        self._bound: _Bound = {}
        self._texts: _Bound = {}

    def text(
        self, label: str, holder: dict[str, Any], name: str, *path: object, **more: Any
    ) -> None:
        """A line of text."""
        key = self._bind(holder, name, *path)
        st.text_input(label, holder[name], key=key, disabled=self.locked, **more)
        self._take(key)

    def area(self, label: str, holder: dict[str, Any], name: str, **more: Any) -> None:
        """Several lines of text."""
        key = self._bind(holder, name)
        st.text_area(label, holder[name], key=key, disabled=self.locked, **more)
        self._take(key)

    def choice(
        self,
        label: str,
        options: Sequence[str],
        holder: dict[str, Any],
        name: str,
        *path: object,
        none: str = "Choose",
        **more: Any,
    ) -> None:
        """One text or none. A chosen text stays listed even if it is not among the options."""
        key = self._bind(holder, name, *path)
        listed = list(dict.fromkeys(["", *options, holder[name]]))
        st.selectbox(
            label,
            listed,
            listed.index(holder[name]),
            key=key,
            format_func=lambda option: option or none,
            disabled=self.locked,
            **more,
        )
        self._take(key)

    def pick(
        self, label: str, options: Mapping[Any, str], holder: dict[str, Any], name: str, **more: Any
    ) -> None:
        """One of some named values. The current value stays listed even if it has no name."""
        key = self._bind(holder, name)
        listed = list(dict.fromkeys([*options, holder[name]]))
        st.selectbox(
            label,
            listed,
            listed.index(holder[name]),
            key=key,
            format_func=lambda value: options.get(value, str(value)),
            disabled=self.locked,
            **more,
        )
        self._take(key)

    def choices(
        self, label: str, options: Sequence[str], holder: dict[str, Any], name: str, **more: Any
    ) -> None:
        """Several texts, in the order chosen."""
        key = self._bind(holder, name)
        listed = list(dict.fromkeys([*options, *holder[name]]))
        st.multiselect(label, listed, holder[name], key=key, disabled=self.locked, **more)
        self._take(key)

    def number(self, label: str, holder: dict[str, Any], name: str, **more: Any) -> None:
        """A number."""
        key = self._bind(holder, name)
        st.number_input(label, value=holder[name], key=key, disabled=self.locked, **more)
        self._take(key)

    def slider(self, label: str, holder: dict[str, Any], name: str, **more: Any) -> None:
        """A number in a range."""
        key = self._bind(holder, name)
        st.slider(label, value=holder[name], key=key, disabled=self.locked, **more)
        self._take(key)

    def toggle(self, label: str, holder: dict[str, Any], name: str, **more: Any) -> None:
        """On or off."""
        key = self._bind(holder, name)
        st.toggle(label, holder[name], key=key, disabled=self.locked, **more)
        self._take(key)

    def radio(
        self,
        label: str,
        options: Mapping[str, str],
        holder: dict[str, Any],
        name: str,
        *path: object,
        **more: Any,
    ) -> None:
        """One of a few named values."""
        key = self._bind(holder, name, *path)
        st.radio(
            label,
            list(options),
            list(options).index(holder[name]),
            key=key,
            format_func=options.__getitem__,
            disabled=self.locked,
            horizontal=True,
            **more,
        )
        self._take(key)

    def code(
        self,
        label: str,
        holder: dict[str, Any],
        name: str,
        *path: object,
        language: Language,
        schema: Mapping[str, Sequence[str]] | None = None,
        names: Sequence[str] = (),
        problems: Sequence[Problem] = (),
        height: int = 300,
    ) -> None:
        """Code, with highlighting, completion and problems at their lines."""
        key = self._key(*path, name)
        self._texts[key] = (holder, name)
        holder[name] = code_editor(
            label,
            holder[name],
            key=key,
            language=language,
            schema=schema,
            names=names,
            problems=problems,
            height=height,
            read_only=self.locked,
        )

    def button(self, label: str, act: Callable[[], object], *path: object, **more: Any) -> None:
        """A button that changes the edit, once everything typed is in it; widgets are rebuilt."""
        st.button(
            label,
            key=self._key("button", *path),
            on_click=_act,
            args=(self, act),
            disabled=self.locked,
            **more,
        )

    def icon_button(self, icon: str, act: Callable[[], object], help: str, *path: object) -> None:
        """A button that shows only an icon."""
        icon = f":material/{icon}:"
        self.button("", act, *path, icon=icon, type="tertiary", help=help)

    def take_all(self) -> None:
        """Copy what was typed last into the edit; it can arrive together with a click."""
        if (self.edit.serial, self.edit.generation) != self._shown:
            return  # the content of these widgets has been replaced
        for key in self._bound:
            if key in st.session_state:
                self._take(key)
        for key, (holder, name) in self._texts.items():
            holder[name] = current_text(key, holder[name])

    def _key(self, *path: object) -> str:
        parts = "/".join(map(str, path))
        return f"definitions/{self.name}/{self.edit.serial}.{self.edit.generation}/{parts}"

    def _bind(self, holder: dict[str, Any], name: str, *path: object) -> str:
        key = self._key(*path, name)
        self._bound[key] = (holder, name)
        return key

    def _take(self, key: str) -> None:
        holder, name = self._bound[key]
        holder[name] = st.session_state[key]


def _act(form: Form, act: Callable[[], object]) -> None:
    form.take_all()
    act()
    form.edit.generation += 1

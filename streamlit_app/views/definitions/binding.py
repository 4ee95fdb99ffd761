"""Widgets that show what a form holds, and put there what is typed.

What is typed lives in the form's ``Work``, not in the widgets: these forget when the page is left.
Each is given what the form holds as its default, rather than a value by ``st.session_state``: a
value is told to the browser once, and is lost when the next click ends that very run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from streamlit_app.services.definition_forms import Work
from streamlit_app.ui.editor import Language, Problem, code_editor, current_text

_Bound = dict[str, tuple[dict[str, Any], str]]
"""By the key of a widget: what it changes, and the name in there."""


class Form:
    """The widgets of one definition.

    Parameters
    ----------
    work
        What they show and change.
    name
        Tells the widgets of one definition from those of another.
    locked
        Whether nothing can be changed.
    """

    def __init__(self, work: Work, name: str, *, locked: bool = False) -> None:
        self.work, self.name, self.locked = work, name, locked
        self._shown = (work.serial, work.generation)
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
        """Some lines of text."""
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
        """One of some texts, or none; what is chosen stays there even if it is none of them."""
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
        """One of some values, by what each is called; another one that is there stays."""
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
        """Some of some texts, in the order of choosing."""
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
        """A number between two ends."""
        key = self._bind(holder, name)
        st.slider(label, value=holder[name], key=key, disabled=self.locked, **more)
        self._take(key)

    def toggle(self, label: str, holder: dict[str, Any], name: str, **more: Any) -> None:
        """Yes or no."""
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
        """One of a few, by what each is called."""
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
        """A text with highlighting, completion and problems at their lines."""
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

    def button(
        self, label: str, act: Callable[[], object], *path: object, again: bool = True, **more: Any
    ) -> None:
        """Change the work, after all that was typed is in it.

        ``again``: whether lists changed, so that all widgets are made anew.
        """
        st.button(
            label,
            key=self._key("button", *path),
            on_click=_act,
            args=(self, act, again),
            disabled=self.locked,
            **more,
        )

    def take_all(self) -> None:
        """Put into the work what was typed last: it may come with the very click on a button."""
        if (self.work.serial, self.work.generation) != self._shown:
            return  # what these widgets showed was replaced since
        for key in self._bound:
            if key in st.session_state:
                self._take(key)
        for key, (holder, name) in self._texts.items():
            holder[name] = current_text(key, holder[name])

    def _key(self, *path: object) -> str:
        parts = "/".join(map(str, path))
        return f"definitions/{self.name}/{self.work.serial}.{self.work.generation}/{parts}"

    def _bind(self, holder: dict[str, Any], name: str, *path: object) -> str:
        key = self._key(*path, name)
        self._bound[key] = (holder, name)
        return key

    def _take(self, key: str) -> None:
        holder, name = self._bound[key]
        holder[name] = st.session_state[key]


def _act(form: Form, act: Callable[[], object], again: bool) -> None:
    form.take_all()
    act()
    form.work.generation += again

"""Searches in MLflow."""

from __future__ import annotations

from typing import Any


def name_filter(name: str) -> str:
    """MLflow's filter for one name."""
    return "name = '{}'".format(name.replace("'", "''"))


def pages(search: Any, *arguments: Any) -> list[Any]:
    """All results of an MLflow search."""
    found: list[Any] = []
    token = None
    while True:
        page = search(*arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def versions_of(client: Any, model: str) -> list[Any]:
    """All versions of a model in MLflow's registry, recorded or not."""
    return pages(client.search_model_versions, name_filter(model))

"""The page of labels."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from streamlit_app.services.app import App
from tests.sql.definitions import MACS
from tests.streamlit_app.defined import by, computed, defined_app  # noqa: F401
from tests.streamlit_app.services.test_labels import keep
from tippers_dagster.access.model import Role


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.views import labels

    labels.render(app)


def opened(app: App, **query: str) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=30)
    for name, value in query.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    return test


def said(test: AppTest) -> str:
    return "\n".join(m.value for m in [*test.markdown, *test.caption, *test.info])


def test_without_a_label_model_it_says_what_to_do(empty_app: App) -> None:
    assert "There is no label model yet" in said(opened(bare(empty_app)))


def bare(app: App) -> App:
    """The deployment without the definitions of the project's files."""
    folder = app.settings.home_path / "project"
    folder.mkdir()
    (folder / "dbt_project.yml").write_text("name: tippers\n")
    return App(app.settings.model_copy(update={"dbt_project": folder}), app.person)


def test_the_distribution_is_also_given_in_words(defined_app: App) -> None:  # noqa: F811
    test = opened(defined_app, model="device.type")
    assert "Most common: " in said(test)
    assert "Confidence 0.9 or higher: " in said(test)


def test_missing_gold_labels_are_asked_for(defined_app: App) -> None:  # noqa: F811
    assert "has a gold label" in said(opened(defined_app, section="Gold labels"))


def test_results_are_compared_with_earlier_ones(defined_app: App) -> None:  # noqa: F811
    assert "There are no earlier results yet" in said(opened(defined_app, section="Compare"))
    keep(defined_app, "first", dict.fromkeys(MACS, "A"), 0.7)
    keep(defined_app, "second", {**dict.fromkeys(MACS, "A"), MACS[0]: "B"}, 0.8)
    keep(defined_app, "third", {**dict.fromkeys(MACS, "A"), MACS[0]: "B", MACS[1]: "B"}, 0.8)
    test = opened(by(defined_app, Role.VIEWER), section="Compare")
    assert "1 of 6 entities (16.7%) changed label" in said(test)
    test = opened(defined_app, section="Compare", before="first")
    assert "2 of 6 entities (33.3%) changed label" in said(test)
    moves = test.dataframe[1].value
    assert moves.to_dict("records") == [{"Before": "A", "After": "B", "Entities": 2}]
    test = opened(defined_app, section="Compare", before="gone", after="third")
    assert "1 of 6 entities (16.7%) changed label" in said(test)
    test = opened(defined_app, section="Compare", **{"with": "model"})
    assert "no other label model" in said(test)


def test_viewers_are_not_offered_entities(defined_app: App) -> None:  # noqa: F811
    test = opened(by(defined_app, Role.VIEWER), section="Entities")
    assert "entities ·" in said(test)
    assert not any("Key contains" in t.label for t in test.text_input)


def test_entities_are_listed_from_the_address(defined_app: App) -> None:  # noqa: F811
    test = opened(defined_app, section="Entities", label="A")
    assert set(test.dataframe[0].value["Label"]) == {"A"}
    assert "No matching entities" in said(opened(defined_app, section="Entities", q="zzz"))

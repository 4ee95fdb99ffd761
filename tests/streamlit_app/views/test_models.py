"""The page of models."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from streamlit_app.services.app import App
from tests.learning.registered import REF
from tests.streamlit_app.modelled import modelled_app, registered  # noqa: F401
from tests.streamlit_app.views.test_labels import bare
from tippers_dagster.access.model import Person, Role
from tippers_dagster.learning.registry import champion_of
from tippers_dagster.platform.warehouse.engine import warehouse_engine


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.views import models

    models.render(app)


def opened(app: App, **query: str) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=60)
    for name, value in query.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    assert not test.error
    return test


def said(test: AppTest) -> str:
    found = [*test.markdown, *test.caption, *test.info, *test.warning, *test.success]
    return "\n".join(m.value for m in found)


def test_without_a_classifier_it_says_what_to_do(empty_app: App) -> None:
    assert "There is no classifier yet" in said(opened(bare(empty_app)))


def test_the_sections_summarise_their_charts_in_words(modelled_app: App) -> None:  # noqa: F811
    ranking = said(opened(modelled_app, model=str(REF)))
    assert "**random forest** ranks first of 2 models by Macro F1" in ranking
    assert "no libgomp" in ranking
    assert "**Best model** has the highest accuracy" in ranking
    quality = said(opened(modelled_app, section="Quality"))
    assert "Most common error" in quality
    assert "on average" in quality
    assert "lowered from 0.7 in 1 step" in quality
    assert "**hours**" in quality
    versions = opened(modelled_app, section="Versions")
    assert "**Version 2** is the champion" in said(versions)
    assert "Latest decision: version 2 promoted. Better" in said(versions)
    assert list(versions.dataframe[0].value["Version"]) == [2, 1]
    predictions = said(opened(modelled_app, section="Predictions"))
    assert "Version 2 labels 240 entities" in predictions
    drift = said(opened(modelled_app, section="Drift"))
    assert "None of 3 columns has drifted since version 2 was trained" in drift

    asked = opened(modelled_app, section="Ask the model")
    assert "3 rows:" in said(asked)
    asked.selectbox(key="models.asked").select(1).run()
    assert asked.query_params["version"] == "1"
    asked.selectbox(key="models.asked").select(2).run()
    assert "version" not in asked.query_params, "the default"
    index = opened(modelled_app, section="Ask the model", of="index", version="1")
    index.button(key="models.predict").click().run()
    assert not index.exception
    assert "240 rows:" in said(index)
    assert set(index.dataframe[0].value["model_version"]) == {1}

    viewer = replace(modelled_app, person=Person("vi", Role.VIEWER))
    shown = opened(viewer, section="Versions")
    assert "needs the analyst role" in said(shown)
    assert not [b for b in shown.button if b.label in ("Promote", "Roll back")]
    assert "ranks first" in said(opened(viewer, section="Ask the model")), "the first section"

    back = opened(modelled_app, section="Versions")
    back.button(key="roll back").click().run()
    back.button(key="models.yes").click().run()
    assert not back.exception
    assert "Version 1 is champion again" in said(back)
    assert champion_of(modelled_app.settings, str(REF)).number == 1


def test_a_changed_model_is_not_used(modelled_app: App) -> None:  # noqa: F811
    changed = "UPDATE tippers.model_file SET sha256 = 'another' WHERE version = 2"
    with warehouse_engine(modelled_app.settings).begin() as connection:
        connection.execute(sa.text(changed))
    test = AppTest.from_function(page, args=(modelled_app,), default_timeout=60)
    test.query_params["section"] = "Ask the model"
    test.run()
    assert not test.exception
    assert "in MLflow was changed after it was registered" in test.error[0].value

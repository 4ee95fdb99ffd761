"""The labelling functions in the project's files."""

from __future__ import annotations

from tippers_dagster.catalog.files import read_folder
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.catalog.kinds import Concept, LabellingFunction
from tippers_dagster.labelling.git_functions import git_function_path, load_git_function
from tippers_dagster.labelling.program import compile_function
from tippers_dagster.settings import Settings


def test_all_can_be_compiled_or_loaded_and_vote_for_their_labels(settings: Settings) -> None:
    project = project_source(settings)
    drafts = read_folder(project / "definitions")
    values = {
        draft.ref.name: [value.name for value in draft.body.values]
        for draft in drafts
        if isinstance(draft.body, Concept)
    }
    found = 0
    for draft in drafts:
        if not isinstance(draft.body, LabellingFunction):
            continue
        found += 1
        labels = values[draft.ref.concept]
        if draft.body.function is None:
            program = compile_function(draft.body, columns=None, values=labels)
            assert set(program.votes_for) == set(draft.body.labels), draft.ref
        else:
            path = git_function_path(project, draft.ref.concept, draft.ref.name)
            load_git_function(path, draft.body, labels)
    assert found >= 25

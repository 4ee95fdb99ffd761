"""Downloads of counts as CSV or Parquet."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from streamlit_app.services.app import App
from streamlit_app.services.occupancy.computed import log_span
from streamlit_app.services.occupancy.series import series
from streamlit_app.services.occupancy.window import Window
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy.export import export_bytes
from tippers_dagster.occupancy.reading import Count
from tippers_dagster.occupancy.sharing import SUPPRESSED, read_shared_occupancy
from tippers_dagster.people.by_label.sharing import read_shared_labelled_occupancy
from tippers_dagster.platform.table_files import Format


def export(
    app: App,
    space: str,
    window: Window,
    width: int,
    kind: Format,
    by: str | None = None,
    count: Count = "devices",
) -> bytes:
    """The counts of every bin of a window, as a file; unknown counts are empty.

    Counts are exact, except small ones, which are hidden if the settings say so.

    Parameters
    ----------
    by
        A label model or classifier: split the counts by its labels.
    count
        Devices or people, if they are not split.

    Raises
    ------
    NotAllowed
        The person may not view counts.
    """
    app.person.require(Role.VIEWER, "download counts")
    selection = (space, window.start, window.end, width)
    if by is None:
        found = read_shared_occupancy(
            *selection, settings=app.settings, on_missing="report", count=count
        )
    else:
        found = read_shared_labelled_occupancy(
            *selection, by, settings=app.settings, on_missing="report"
        )
    log = log_span(app.settings)
    if log is not None:
        known = pa.array(series(app.settings, [space], window, width, log)[0].computed)
        for i, name in enumerate(found.column_names[1:], 1):
            unknown = False if name == SUPPRESSED else None
            values = pc.if_else(known, found[name], unknown)
            found = found.set_column(i, found.schema.field(i), values)
    return export_bytes(space, found, kind)


def file_name(tree: SpaceTree, space: str, window: Window, width: int, kind: Format) -> str:
    """A file name with the space, dates and bin width, in ASCII letters and digits."""
    name = tree.names[tree.index[space]]
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name).strip("_") or "space"
    return f"{plain}_{window.start:%Y-%m-%d}_{window.end:%Y-%m-%d}_{width}s.{kind}"

"""What the occupancy page shows, compared with counts read directly."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from streamlit_app.services.app import App
from streamlit_app.services.occupancy import series as series_service
from streamlit_app.services.occupancy.children import floor, ranking
from streamlit_app.services.occupancy.computed import Log, default_window, extents, log_span
from streamlit_app.services.occupancy.export import export, file_name
from streamlit_app.services.occupancy.series import Series, series, week
from streamlit_app.services.occupancy.treemap import squarify
from streamlit_app.services.occupancy.window import (
    Window,
    choose_width,
    parse_typed_width,
    parse_window,
)
from tests.occupancy.lake import lose_counts
from tests.streamlit_app.conftest import FIRST, UNTIL
from tippers_dagster.access.model import Role
from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.campus.spaces.facts import Facts, load_facts
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy.reading import read_counts, read_occupancy
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import get_settings

DAY = dt.timedelta(1)


def at(day: dt.date, hour: int = 0) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour))


WHOLE = Window(at(FIRST), at(UNTIL))


def building(app: App) -> tuple[SpaceTree, str]:
    tree = load_tree(app.settings)
    return tree, max(tree.children(tree.roots[0]), key=lambda s: tree.size[tree.index[s]])


def lose(app: App, space: str, chunk: str) -> None:
    lose_counts(open_lake(app.settings), space, chunk)


def made(counts: list[int], computed: list[bool] | None = None, width: int = 900) -> Series:
    local = 1_737_331_200 + np.arange(len(counts) + 1) * width  # 2025-01-20 00:00, a Monday
    known = np.array(computed or [True] * len(counts))
    return Series("1", width, local, np.array(counts, np.int32), known, ())


def with_people(people: list[int], counts: list[int], width: int = 900) -> Series:
    return replace(made(counts, width=width), people=np.array(people, np.int32))


# --- reading -------------------------------------------------------------------------------------
def test_counts_of_several_spaces_equal_those_of_each(campus_app: App) -> None:
    tree, hall = building(campus_app)
    lose(campus_app, hall, "2025-01-27")
    spaces = [tree.roots[0], hall, *tree.children(hall)[:2]]
    for width in (3600, 600):
        end = FIRST + 3 * DAY if width == 600 else UNTIL
        many = read_counts(spaces, FIRST, end, width, settings=campus_app.settings)
        for i, space in enumerate(spaces):
            one = read_occupancy(
                space, FIRST, end, width, settings=campus_app.settings, on_missing="report"
            )["number_connections"]
            assert many.computed[i].tolist() == [v.is_valid for v in one]
            assert many.counts[i][many.computed[i]].tolist() == one.drop_null().to_pylist()


def test_an_unknown_space_is_refused(campus_app: App) -> None:
    with pytest.raises(BadInput, match="no space"):
        series(campus_app.settings, ["nowhere"], WHOLE, 3600)


def test_missing_bins_are_a_gap_and_not_zero(campus_app: App) -> None:
    _, hall = building(campus_app)
    lose(campus_app, hall, "2025-01-27")
    one = series(campus_app.settings, [hall], WHOLE, 3600)[0]
    assert [(g.start, g.end) for g in one.gaps] == [(at(dt.date(2025, 1, 27)), at(UNTIL))]
    assert one.figures.missing_bins == 7 * 24
    half = one.within(Window(at(FIRST), at(dt.date(2025, 1, 27))))
    assert half.figures.mean == pytest.approx(one.figures.mean)
    assert one.points().table["mean"].null_count == 7 * 24


def test_bins_outside_the_log_are_not_computed(campus_app: App) -> None:
    _, hall = building(campus_app)
    log = log_span(campus_app.settings)
    assert log is not None
    assert (log.begin.date(), log.end.date()) == (FIRST, UNTIL - DAY)
    window = Window(at(UNTIL - DAY), at(UNTIL + DAY))
    one = series(campus_app.settings, [hall], window, 900, log)[0]
    assert one.gaps[0].start > log.end
    assert one.gaps[0].end == window.end
    late = Log(at(FIRST, 9), at(UNTIL))
    one = series(campus_app.settings, [hall], WHOLE, 3600, late)[0]
    assert [(g.start, g.end) for g in one.gaps] == [(at(FIRST), at(FIRST, 9))]


def test_nothing_computed_has_no_window(empty_app: App) -> None:
    assert log_span(empty_app.settings) is None
    assert extents(empty_app.settings, ["1"]) == {}


def test_the_first_window_is_the_last_week_of_the_log(campus_app: App) -> None:
    _, hall = building(campus_app)
    extent = extents(campus_app.settings, [hall])[hall]
    assert (extent.first, extent.until) == (FIRST, UNTIL)
    window = default_window(campus_app.settings, extent)
    assert window == Window(at(UNTIL - 7 * DAY), at(UNTIL))


# --- widths and windows --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("days", "width"), [(1, 900), (6, 900), (7, 1800), (30, 7200), (365, 86400)]
)
def test_the_width_follows_the_window(days: int, width: int) -> None:
    assert choose_width(Window(at(FIRST), at(FIRST + days * DAY))) == width


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10 min", 600), ("10", 600), ("2 h", 7200), ("1 day", 86400), ("0.5 h", 1800), ("60s", 60)],
)
def test_a_typed_width_is_parsed(text: str, seconds: int) -> None:
    assert parse_typed_width(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5 min", "2 days", "90 s", "1e99", "nan h"])
def test_text_that_is_not_a_width_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_typed_width(text)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("", ""),
        ("2025-01-20", "2025-01-20"),
        ("2025-01-21", "2025-01-20"),
        ("0001-01-01", "9999-01-01"),
        ("2025-01-20T00:00+01:00", "2025-01-21"),
        ("<script>", "2025-01-21"),
    ],
)
def test_an_address_without_a_valid_window_is_ignored(start: str, end: str) -> None:
    assert parse_window(start, end) is None


# --- points --------------------------------------------------------------------------------------
def test_few_bins_are_drawn_as_they_are() -> None:
    points = made([1, 5, 3]).points()
    assert points.bins_per_point == 1
    assert points.table["low"].to_pylist() == points.table["high"].to_pylist() == [1, 5, 3]


def test_many_bins_are_drawn_with_their_extremes() -> None:
    counts = np.random.default_rng(1).integers(0, 99, 96 * 400)
    points = made(counts.tolist()).points(500)
    assert points.bins_per_point == 96
    days = counts.reshape(-1, 96)
    assert points.table["high"].to_pylist() == days.max(axis=1).tolist()
    assert points.table["low"].to_pylist() == days.min(axis=1).tolist()
    assert points.table["mean"].to_pylist() == pytest.approx(days.mean(axis=1).tolist())


def test_a_point_with_an_unknown_bin_is_unknown() -> None:
    known = [True] * 96 * 20
    known[100] = False
    table = made([1] * 96 * 20, known).points(20).table
    assert table["high"].to_pylist() == [1.0, None, *[1.0] * 18]


def test_the_peak_ignores_unknown_bins() -> None:
    figures = made([1, 99, 3, 2], [True, False, True, True]).figures
    assert (figures.peak, figures.mean, figures.missing_bins) == (3, 2.0, 1)
    assert figures.peak_at == dt.datetime(2025, 1, 20, 0, 30)
    none = made([4], [False]).figures
    assert (none.peak, none.mean, none.peak_at) == (None, None, None)


def test_a_window_without_bins_is_empty() -> None:
    one = made([1, 2]).within(Window(at(UNTIL), at(UNTIL + DAY)))
    assert len(one.counts) == 0
    assert one.points().table.num_rows == 0


# --- the week, the spaces inside, the floor ------------------------------------------------------
def test_the_usual_week_is_the_mean_of_its_hours() -> None:
    usual = week(made([10] * 168 + [20] * 167 + [0], [True] * 335 + [False], 3600))
    rows = usual.table.to_pylist()
    assert rows[0] == {"weekday": 0, "hour": 0, "mean": 15.0, "hours": 2}
    assert rows[167] == {"weekday": 6, "hour": 23, "mean": 10.0, "hours": 1}
    assert usual.busiest == (0, 0, 15.0)


def test_a_week_without_known_bins_has_no_busiest_hour() -> None:
    usual = week(made([1, 2], [False, False], 3600))
    assert usual.busiest is None
    assert usual.table["mean"].null_count == 168


def test_children_are_ranked_by_their_peaks(campus_app: App) -> None:
    tree, hall = building(campus_app)
    lost = tree.children(tree.roots[0])[0]
    for chunk in ("2025-01-20", "2025-01-27"):
        lose(campus_app, lost, chunk)
    ranks = ranking(campus_app.settings, tree, {}, tree.roots[0], WHOLE)
    peaks = [r.figures.peak for r in ranks if r.figures.peak is not None]
    assert peaks == sorted(peaks, reverse=True)
    assert hall in [r.space for r in ranks[:2]]
    last = ranks[-1].figures
    assert (ranks[-1].space, last.peak, last.mean) == (lost, None, None)


def test_the_floor_has_each_space_once_and_fills_the_square(campus_app: App) -> None:
    tree, hall = building(campus_app)
    level = tree.children(hall)[1]
    placed = floor(campus_app.settings, tree, {}, level, dt.date(2025, 1, 22))
    assert placed.spaces == tree.children(level)
    assert len(placed.times) == 96
    assert not placed.by_coordinates
    assert (placed.places[:, 2] * placed.places[:, 3]).sum() == pytest.approx(1)
    # A room shows the floor that it is on.
    room = floor(campus_app.settings, tree, {}, placed.spaces[0], dt.date(2025, 1, 22))
    assert room.spaces == placed.spaces


def test_spaces_are_placed_by_coordinates_if_all_have_them(campus_app: App) -> None:
    tree, hall = building(campus_app)
    level = tree.children(hall)[1]
    rooms = tree.children(level)
    known = {room: Facts(at=(float(i), -float(i))) for i, room in enumerate(rooms)}
    placed = floor(campus_app.settings, tree, known, level, FIRST)
    assert placed.by_coordinates
    assert placed.places[0].tolist() == [0, 0, 0, 0]
    assert placed.places[-1].tolist() == [1, 1, 0, 0]
    known.pop(rooms[0])
    assert not floor(campus_app.settings, tree, known, level, FIRST).by_coordinates


@pytest.mark.parametrize("sizes", [[6, 6, 4, 3, 2, 2, 1], [1], [0, 0, 0], [5, 0, 0.001]])
def test_a_treemap_has_no_overlap_and_the_right_areas(sizes: list[float]) -> None:
    boxes = squarify(np.array(sizes), 6, 4)
    total = sum(sizes) or len(sizes)
    for size, (_, _, width, height) in zip(sizes, boxes, strict=True):
        assert width * height == pytest.approx((size if sum(sizes) else 1) / total * 24)
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= -1e-9
        assert y >= -1e-9
        assert x + w <= 6 + 1e-9
        assert y + h <= 4 + 1e-9
        for x2, y2, w2, h2 in boxes[i + 1 :]:
            across = min(x + w, x2 + w2) - max(x, x2)
            down = min(y + h, y2 + h2) - max(y, y2)
            assert across < 1e-9 or down < 1e-9


# --- files, facts --------------------------------------------------------------------------------
def test_a_viewer_downloads_the_exact_counts(
    campus_app: App, as_role: Callable[[App, Role], App]
) -> None:
    viewer = as_role(campus_app, Role.VIEWER)
    _, hall = building(campus_app)
    lose(campus_app, hall, "2025-01-27")
    window = Window(at(FIRST, 6), at(UNTIL))
    expected = read_occupancy(
        hall, window.start, window.end, 1800, settings=viewer.settings, on_missing="report"
    )["number_connections"]
    csv = pyarrow.csv.read_csv(io.BytesIO(export(viewer, hall, window, 1800, "csv")))
    assert csv.column_names == ["space_id", "interval_begin_time", "number_connections"]
    assert csv["number_connections"].to_pylist() == expected.to_pylist()
    parquet = pq.read_table(io.BytesIO(export(viewer, hall, window, 1800, "parquet")))
    assert parquet["number_connections"].to_pylist() == expected.to_pylist()


def test_small_counts_are_left_out_of_downloads(
    campus_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_SMALLEST_COUNT", "5")
    get_settings.cache_clear()
    careful = replace(campus_app, settings=get_settings())
    _, hall = building(campus_app)
    window = Window(at(FIRST), at(UNTIL))
    found = pq.read_table(io.BytesIO(export(careful, hall, window, 900, "parquet")))
    shown = np.array([c for c in found["number_connections"].to_pylist() if c])
    assert shown.size
    assert shown.min() >= 5
    assert sum(found["suppressed"].to_pylist()) > 0


def test_a_file_has_a_plain_name(campus_app: App) -> None:
    tree, hall = building(campus_app)
    name = file_name(tree, hall, WHOLE, 900, "csv")
    assert name.endswith("_2025-01-20_2025-02-03_900s.csv")
    assert not set(name).intersection(' /\\"<>')


def test_capacity_and_places_are_read_where_the_source_has_them(campus_app: App) -> None:
    tree = load_tree(campus_app.settings)
    rooms = [i for i, room in enumerate(tree.building_rooms) if room]
    plain = load_facts(campus_app.settings)
    assert plain[tree.ids[rooms[0]]].type
    assert plain[tree.ids[rooms[0]]].capacity is None
    with load_transaction(campus_app.settings) as load:
        load.execute("ALTER TABLE source.space_metadata ADD capacity text, ADD x real, ADD y real")
        load.execute("UPDATE source.space_metadata SET capacity = '40', x = 1, y = 2")
        load.execute("UPDATE source.space_metadata SET capacity = 'many' WHERE type = 'office'")
    found = load_facts(campus_app.settings)
    known = [found[tree.ids[i]] for i in rooms if tree.ids[i] in found]
    assert {f.capacity for f in known} == {40.0, None}
    assert all(f.at == (1.0, 2.0) for f in known)
    assert all(f.capacity is None for f in known if f.type == "office")


def test_the_metadata_table_is_optional(campus_app: App) -> None:
    with load_transaction(campus_app.settings) as load:
        load.execute("DROP TABLE source.space_metadata")
    assert load_facts(campus_app.settings) == {}


# --- people --------------------------------------------------------------------------------------
def test_people_and_other_devices_are_read_apart(campus_app: App) -> None:
    tree, hall = building(campus_app)
    settings = campus_app.settings
    for width in (3600, 600):
        window = Window(at(FIRST), at(FIRST + 2 * DAY))
        (one,) = series(settings, [hall], window, width, count="people")
        found = read_occupancy(
            hall, FIRST, FIRST + 2 * DAY, width, settings=settings, count="people"
        )
        people, others = (
            found[name].to_numpy() for name in ("number_people", "number_other_devices")
        )
        assert one.people is not None
        assert one.people.tolist() == people.tolist()
        assert one.counts.tolist() == (people + others).tolist()
        assert people.any()
        assert others.any()
    assert series(settings, [hall], window, 3600)[0].people is None
    ranks = ranking(settings, tree, {}, tree.roots[0], WHOLE, count="people")
    assert ranks[0].figures.peak == max(r.figures.peak or 0 for r in ranks)
    assert ranks[0].figures.peak_people


def test_people_are_known_where_and_when_the_log_has_users(campus_app: App) -> None:
    _, hall = building(campus_app)
    settings = campus_app.settings
    evening = Window(at(FIRST, 12), at(FIRST, 13))
    assert series_service.are_people_known(settings, hall, evening)
    before = Window(at(FIRST - 7 * DAY), at(FIRST))
    assert not series_service.are_people_known(settings, hall, before)


def test_no_person_is_known_in_a_log_without_users(nameless_app: App) -> None:
    _, hall = building(nameless_app)
    assert not series_service.are_people_known(nameless_app.settings, hall, WHOLE)


def test_figures_say_how_many_of_the_peak_are_people() -> None:
    one = with_people([1, 3, 0], [5, 9, 1])
    figures = one.figures
    assert (figures.peak, figures.peak_people) == (9, 3)
    assert figures.mean == 5
    assert figures.mean_people == pytest.approx(4 / 3)
    parts = {name: part.counts.tolist() for name, part in one.parts.items()}
    assert parts == {"People known by user name": [1, 3, 0], "Other devices": [4, 6, 1]}
    assert made([1]).parts == {}
    assert made([1]).figures.peak_people is None
    inside = one.within(Window(at(FIRST), at(FIRST) + dt.timedelta(minutes=30)))
    assert inside.people is not None
    assert inside.people.tolist() == [1, 3]


def test_a_usual_week_of_people_has_its_parts() -> None:
    usual = week(with_people([4] + [0] * 167, [10] + [0] * 167, width=3600))
    assert usual.busiest == (0, 0, 10.0)
    assert usual.people == 4.0
    first = usual.table.slice(0, 1).to_pylist()[0]
    assert (first["people"], first["others"]) == (4.0, 6.0)
    assert week(made([1] * 168, width=3600)).people is None

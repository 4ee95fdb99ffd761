from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tippers_dagster.calendar.files import as_csv, as_yaml, read_bytes, read_file, write_file
from tippers_dagster.calendar.periods import Period, PeriodKind, period
from tippers_dagster.errors import BadInput

PERIODS = [
    period("quarter", "Fall, the first", dt.date(2025, 9, 25), dt.date(2025, 12, 12)),
    period("event", 'A "fair": 2025', dt.date(2025, 10, 6), dt.date(2025, 10, 6), "12"),
    period("holiday", "Día", dt.date(2025, 10, 7), dt.date(2025, 10, 7)),
]


@pytest.mark.parametrize("suffix", [".csv", ".yaml", ".yml"])
def test_written_files_are_read_back(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"calendar{suffix}"
    write_file(PERIODS, file)
    assert read_file(file) == PERIODS
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    write_file([], file)
    assert read_file(file) == []


def test_the_last_day_is_included() -> None:
    text = "last_day,first_day,kind,name\n2025-12-12, 2025-09-25,quarter, Fall \n"
    found = read_bytes(("\ufeff" + text).encode(), "calendar.csv")
    end = dt.date(2025, 12, 13)
    assert found == [Period(dt.date(2025, 9, 25), end, PeriodKind.QUARTER, "Fall")]
    assert "2025-12-12" in as_csv(found)
    assert "2025-12-12" in as_yaml(found)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("c.csv", "kind,name\n", "missing columns: first_day, last_day"),
        ("c.csv", "kind,name,first_day,last_day,colour\n", "unknown columns: colour"),
        ("c.csv", "", "missing columns"),
        ("c.csv", 'kind,name,first_day,last_day\n"a', "not CSV"),
        ("c.csv", "kind,name,first_day,last_day\nquarter,Fall,2025-09-25", "line 2: last_day"),
        ("c.csv", "kind,name,first_day,last_day\nterm,a,2025-09-25,2025-09-25", "not a kind"),
        ("c.csv", "kind,name,first_day,last_day\nevent,a,9/25/2025,2025-09-25", "is not a date"),
        ("c.csv", "kind,name,first_day,last_day\nevent,a,2025-09-25,2025-09-25,,x", "more values"),
        ("c.yaml", "- 1", "no fields"),
        ("c.yaml", "periods: 1", "not consist of a list"),
        ("c.yaml", "periods: [1]", "period 1 has no fields"),
        ("c.yaml", "periods: [{kind: event, when: 3}]", "unknown fields: when"),
        ("c.yaml", "periods: [{kind: event, name: a, first_day: 2025-09-25}]", "last_day is None"),
    ],
)
def test_errors_are_named(name: str, text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        read_bytes(text.encode(), name)


def test_formulas_in_names_are_escaped_in_csv_and_read_back() -> None:
    day = dt.date(2025, 1, 6)
    periods = [Period(day, day + dt.timedelta(1), PeriodKind.EVENT, n, s)
               for n, s in (("=1+1", "-room"), ("'@x", "r"), ("O'Hara", "'r'"))]  # fmt: skip
    written = as_csv(periods)
    assert "event,'=1+1,2025-01-06,2025-01-06,'-room" in written
    assert read_bytes(written.encode(), "c.csv") == periods
    assert read_bytes(as_yaml(periods).encode(), "c.yml") == periods
    with pytest.raises(BadInput, match="the column name twice"):
        read_bytes(b"kind,name,name,first_day,last_day\nevent,a,b,2025-01-06,2025-01-06\n", "c.csv")


def test_all_wrong_lines_are_reported_at_once() -> None:
    lines = [f"quarter,q,2025-09-{day},2025-09-01" for day in range(10, 20)]
    text = "\n".join(["kind,name,first_day,last_day", *lines])
    with pytest.raises(BadInput, match=r"(?s)nothing was imported.*line 2: .*line 6: .*and 5 more"):
        read_bytes(text.encode(), "c.csv")


def test_other_files_are_refused(tmp_path: Path) -> None:
    for act in (read_file, lambda path: write_file(PERIODS, path)):
        with pytest.raises(BadInput, match="not a CSV or YAML file"):
            act(tmp_path / "c.ics")
    with pytest.raises(BadInput, match="could not be read"):
        read_file(tmp_path / "no.csv")
    with pytest.raises(BadInput, match="could not be written"):
        write_file(PERIODS, tmp_path / "no" / "c.csv")
    with pytest.raises(BadInput, match="UTF-8"):
        read_bytes(b"\xff\xfe", "c.csv")

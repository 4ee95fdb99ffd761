"""Who made a device, by the vendor prefix of its address, and what the maker's devices usually are.

Prefixes of common makers come with the project (``vendor_prefixes.csv``). A campus can load the
full registry, whose makers then take precedence. Source of both: the registry MA-L of the IEEE
(https://standards-oui.ieee.org/oui/oui.csv), whose spelling of names is kept; the usual kinds are
our own, and empty for makers of several kinds.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tippers_dagster.campus.tables import vendor_prefix
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

_SHIPPED = "vendor_prefixes.csv"
_TEXTS = dict.fromkeys(("prefix", "maker", "maker_kind"), pa.string())

REGISTRY_CONTENT = (
    "SELECT md5(coalesce(string_agg(concat_ws(' ', prefix, maker), chr(10) ORDER BY prefix), '')) "
    f"FROM {vendor_prefix}"
)
"""A query for a text that differs whenever the loaded registry does."""


def shipped_bytes() -> bytes:
    """The file of the prefixes that come with the project."""
    return files("tippers_dagster.campus").joinpath(_SHIPPED).read_bytes()


@cache
def common_prefixes() -> pa.Table:
    """Prefixes that come with the project: prefix (``aa:bb:cc``), maker, maker_kind (or null)."""
    options = pa_csv.ConvertOptions(column_types=_TEXTS, strings_can_be_null=True)
    found = pa_csv.read_csv(pa.BufferReader(shipped_bytes()), convert_options=options)
    return found.combine_chunks()


def makers(settings: Settings) -> pa.Table:
    """All known vendor prefixes, each once: prefix, maker, and maker_kind (null if not known)."""
    common = common_prefixes()
    ours = common.select(["prefix", "maker"])
    registry = read_arrow(settings, f"SELECT prefix, maker FROM {vendor_prefix}").cast(ours.schema)
    kept = ours.filter(pc.invert(pc.is_in(ours["prefix"], value_set=_whole(registry, "prefix"))))
    found = pa.concat_tables([registry, kept])
    # What is known of a maker counts for all of its prefixes.
    spelled = pc.utf8_lower(_whole(common, "maker"))
    at = pc.index_in(pc.utf8_lower(_whole(found, "maker")), value_set=spelled)
    return found.append_column("maker_kind", _whole(common, "maker_kind").take(at))


def makers_of(prefixes: pa.Array, known: pa.Table) -> tuple[pa.Array, pa.Array]:
    """The maker of each vendor prefix, and what its devices usually are.

    Parameters
    ----------
    prefixes
        Text [n], null where an address has none.
    known
        From ``makers``.

    Returns
    -------
    (maker, maker_kind)
        Text [n] each; null where not known.
    """
    at = pc.index_in(prefixes, value_set=_whole(known, "prefix"))
    return _whole(known, "maker").take(at), _whole(known, "maker_kind").take(at)


def _whole(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece."""
    return table[name].combine_chunks()

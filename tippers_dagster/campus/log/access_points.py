"""Access points as logs name them: by an address, with or without the network's name, or by name.

RADIUS sends the called station as ``AA-BB-CC-DD-EE-FF:SSID`` (RFC 3580, section 3.20); what is kept
differs by server and controller.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.devices import ADDRESS, addresses

_STATION = f"(?is)^(?P<address>{ADDRESS})(?::(?P<ssid>.*))?$"


def normalise_access_points(names: pa.Array) -> tuple[pa.Array, pa.Array]:
    """One form for every spelling of an access point's address.

    Vectorised, but meant for distinct values: encode a log's column as a dictionary first.

    Parameters
    ----------
    names
        Text [n], which may be null.

    Returns
    -------
    (access_points, ssids)
        Text [n]: an address as ``aa:bb:cc:dd:ee:ff``; any other name without the blanks around it,
        null if nothing is left. Text [n]: the name of the network after an address, or null.
    """
    trimmed = pc.utf8_trim_whitespace(names.cast(pa.string()))
    station = pc.extract_regex(trimmed, _STATION)
    address, ssid = (pc.struct_field(station, field) for field in ("address", "ssid"))
    found = pc.coalesce(addresses(address), trimmed)
    return _or_null(found), _or_null(pc.utf8_trim_whitespace(ssid))


def _or_null(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)

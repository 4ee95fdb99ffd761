"""Access points as logs name them: by an address, with or without the network's name, or by name.

RADIUS sends the called station as ``AA-BB-CC-DD-EE-FF:SSID`` (RFC 3580, section 3.20); what is kept
differs by server and controller.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_SEPARATORS = "[-:. ]"
_ADDRESS = f"[0-9A-Fa-f]{{2}}(?:{_SEPARATORS}?[0-9A-Fa-f]{{2}}){{5}}"
_STATION = f"(?s)^(?P<address>{_ADDRESS})(?::(?P<ssid>.*))?$"
_OCTETS = f"^{'([0-9a-f]{2})' * 6}$"


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
    addresses, ssids = (pc.struct_field(station, field) for field in ("address", "ssid"))
    digits = pc.replace_substring_regex(pc.ascii_lower(addresses), _SEPARATORS, "")
    octets = pc.replace_substring_regex(digits, _OCTETS, r"\1:\2:\3:\4:\5:\6")
    found = pc.if_else(pc.is_valid(octets), octets, trimmed)
    return _or_null(found), _or_null(pc.utf8_trim_whitespace(ssids))


def _or_null(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)

"""Device ids as logs write them: one form for every spelling of an address.

An address (EUI-48, IEEE 802) has twelve hexadecimal digits, which systems group and join as they
like. What names no device is rejected with a reason; everything else is an opaque id of the campus,
such as a pseudonym.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NO_DEVICE = "no device"
PLACEHOLDER = "placeholder instead of a device"
DAMAGED = "damaged device address"
NUMBER = "device address that a spreadsheet turned into a number"
DEVICE_REASONS = (NO_DEVICE, PLACEHOLDER, DAMAGED, NUMBER)
"""Why an id is rejected, by code."""

UNIVERSAL, RANDOMISED, OPAQUE = range(3)
KINDS = ("universal", "randomised", "opaque")
"""What a device id is, by code: an address that its maker gave, an address that the device made up,
or no address."""

_SEPARATORS = "[-:. ]"
ADDRESS = f"[0-9a-f]{{2}}(?:{_SEPARATORS}?[0-9a-f]{{2}}){{5}}"
"""An address in any spelling, in lower case: a regular expression."""

_OCTETS = f"^{'([0-9a-f]{2})' * 6}$"
_PREFIX = f"^{f'{_SEPARATORS}?'.join(['([0-9a-f]{2})'] * 3)}$"
_NORMALISED = "^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$"
# The second lowest bit of the first octet says that an address is locally administered.
_LOCAL = "^[0-9a-f][2367abef]:"
_DECIMAL = r"^\s*[0-9]{12}\s*$"
_NOBODY = ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
PLACEHOLDERS = ("-", "--", "?", "n/a", "na", "nan", "nil", "none", "null", "undefined", "unknown")
"""What systems write, in lower case, when they know no name."""

_DAMAGED = "|".join(
    (
        # Octets, but not six: fewer than three with colons, or four with dashes, may be an id.
        r"[0-9a-f]{1,2}(?::[0-9a-f]{1,2}){2,}:?",
        r"[0-9a-f]{2}(?:-[0-9a-f]{2}){2,}-[0-9a-f]{0,2}",
        # Six octets with other characters among their digits.
        r"[^:\s]{2}(?::[^:\s]{2}){5}",
        r"[^-\s]{2}(?:-[^-\s]{2}){5}",
        # Groups of four, likewise.
        r"[0-9a-f]{4}(?:\.[0-9a-f]{4})+(?:\.[0-9a-f]{0,4})?",
        r"[0-9a-z]{4}(?:\.[0-9a-z]{4}){2}",
    )
)
_NUMBER = r"[0-9](?:[.,][0-9]+)?e\+[0-9]+"


def normalise_devices(ids: pa.Array) -> tuple[pa.Array, NDArray[np.int8]]:
    """One form for every spelling of a device id.

    Vectorised, but meant for distinct values: encode a log's column as a dictionary first.

    Parameters
    ----------
    ids
        Text [n], which may be null.

    Returns
    -------
    (ids, reasons)
        Text [n]: an address as ``aa:bb:cc:dd:ee:ff``; any other id without the blanks around it;
        null where it was null. int8 [n]: the code in ``DEVICE_REASONS`` of why an id names no
        device, or -1.
    """
    trimmed = pc.utf8_trim_whitespace(ids.cast(pa.string()))
    lower = pc.ascii_lower(trimmed)
    octets = addresses(trimmed)
    is_address = octets.is_valid()
    rejected = [
        pc.equal(trimmed, ""),
        pc.is_in(pc.coalesce(octets, lower), value_set=pa.array([*_NOBODY, *PLACEHOLDERS])),
        pc.and_not(pc.match_substring_regex(lower, f"^(?:{_DAMAGED})$"), is_address),
        pc.match_substring_regex(lower, f"^(?:{_NUMBER})$"),
    ]
    masks = [np.asarray(pc.fill_null(mask, False)) for mask in rejected]
    masks[0] |= np.asarray(trimmed.is_null())
    codes = np.arange(len(DEVICE_REASONS), dtype=np.int8)
    return pc.coalesce(octets, trimmed), np.select(masks, codes, default=np.int8(-1))


def addresses(texts: pa.Array) -> pa.Array:
    """The addresses among texts, as ``aa:bb:cc:dd:ee:ff``; null for all others; text [n]."""
    lower = pc.ascii_lower(texts)
    is_address = pc.match_substring_regex(lower, f"^{ADDRESS}$")
    digits = pc.replace_substring_regex(lower, _SEPARATORS, "")
    octets = pc.replace_substring_regex(digits, _OCTETS, r"\1:\2:\3:\4:\5:\6")
    return pc.if_else(is_address, octets, pa.scalar(None, pa.string()))


def device_kinds(normalised: pa.Array) -> NDArray[np.int8]:
    """What each device id is.

    A device that makes up an address for a network sets the local bit of its first octet (IEEE 802,
    as Android and iOS do); virtual interfaces and some access points do as well.

    Parameters
    ----------
    normalised
        Ids as ``normalise_devices`` returns them, text [n].

    Returns
    -------
    int8 [n]
        ``UNIVERSAL``, ``RANDOMISED`` or ``OPAQUE``; ``OPAQUE`` for null.
    """
    address = pc.fill_null(pc.match_substring_regex(normalised, _NORMALISED), False)
    local = pc.fill_null(pc.match_substring_regex(normalised, _LOCAL), False)
    codes = np.array([OPAQUE, OPAQUE, UNIVERSAL, RANDOMISED], np.int8)
    return codes[2 * np.asarray(address) + np.asarray(local)]


def vendor_prefixes(normalised: pa.Array) -> pa.Array:
    """The first three octets (``aa:bb:cc``) of universal addresses, which name their maker.

    Parameters
    ----------
    normalised
        Ids as ``normalise_devices`` returns them, text [n].

    Returns
    -------
    text [n]
        Null for all other ids.
    """
    universal = pa.array(device_kinds(normalised) == UNIVERSAL)
    prefixes = pc.utf8_slice_codeunits(normalised, 0, 8)
    return pc.if_else(universal, prefixes, pa.scalar(None, pa.string()))


def normalised_prefixes(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Vendor prefixes in any spelling (``AABBCC``, ``AA-BB-CC``) as ``aa:bb:cc``.

    Returns
    -------
    text [n]
        Null for what is not three octets, such as the longer assignments of small makers.
    """
    lower = pc.ascii_lower(texts)
    is_prefix = pc.match_substring_regex(lower, _PREFIX)
    prefixes = pc.replace_substring_regex(lower, _PREFIX, r"\1:\2:\3")
    return pc.if_else(is_prefix, prefixes, pa.scalar(None, pa.string()))


def same_form(keys: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Keys of entities for comparing: one form for every spelling of a device's address.

    All other keys stay as they are. So do twelve decimal digits, as a number may be the key of
    something else.

    Parameters
    ----------
    keys
        Any type that can be cast to text [n].

    Returns
    -------
    text [n]
    """
    values = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    encoded = values.cast(pa.string()).dictionary_encode()
    texts = encoded.dictionary
    normalised, _ = normalise_devices(texts)
    is_address = pc.match_substring_regex(normalised, _NORMALISED)
    is_number = pc.match_substring_regex(texts, _DECIMAL)
    compared = pc.if_else(pc.and_not(is_address, is_number), normalised, texts)
    return compared.take(encoded.indices)


def same_form_of(key: str) -> str:
    """One key for comparing, see :func:`same_form`."""
    found: str = same_form(pa.array([key]))[0].as_py()
    return found

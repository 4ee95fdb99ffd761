"""Who uses a device: the user name of a session, as a keyed hash.

Names are brought into one form first: NFKC, case folded, without the realms and domains that are
the campus's own. Names that are of nobody make no person: outer identities of EAP (RFC 7542:
``anonymous@example.edu``, ``@example.edu``), machines (``host/pc-1``, ``PC-1$``), and addresses of
devices that log in by these. Only the hash is returned.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.devices import PLACEHOLDERS, addresses
from tippers_dagster.campus.identities import keyed_hashes
from tippers_dagster.errors import BadInput

DOMAIN = b"tippers person"
"""Of the hash: a person's hash is independent of a device's, even of the same text."""

ANONYMOUS = ("anon.*",)
"""FreeRADIUS takes outer names that begin so as anonymous (``policy.d/filter``)."""

MACHINES = ("host/.*", r".*\$")
"""Windows: by certificate or host name, and accounts of computers in Active Directory."""

MAX_KNOWN = 200_000
"""Names that are kept from one batch to the next."""

_TWELVE_DIGITS = "^[0-9]{12}$"


@dataclass(frozen=True)
class UserNames:
    r"""How user names are to be read.

    Parameters
    ----------
    own_realms
        Realms (``user@realm``) and domains (``DOMAIN\user``) whose names are the same with and
        without it. All others are part of the name. Letter case is ignored.
    anonymous
        Regular expressions (RE2) of the part of a name without realm and domain that is of nobody;
        each has to match all of it, in lower case.
    machines
        The same, for machines.

    Raises
    ------
    BadInput
        When a pattern is not a regular expression.
    """

    own_realms: tuple[str, ...] = ()
    anonymous: tuple[str, ...] = ANONYMOUS
    machines: tuple[str, ...] = MACHINES

    def __post_init__(self) -> None:
        for pattern in (*self.anonymous, *self.machines):
            try:
                pc.match_substring_regex(pa.array([""]), f"^(?:{pattern})$")
            except pa.ArrowInvalid as error:
                raise BadInput(
                    f"The pattern {pattern!r} of user names is not a regular expression: {error}",
                    "The syntax is that of RE2.",
                ) from None


class KnownPersons:
    """The persons of the names of one log, which are in many of its batches. In memory only."""

    def __init__(self) -> None:
        self._names, self._hashes = pa.array([], pa.string()), pa.array([], pa.uint64())

    def of(self, names: pa.Array, hashes_of: Callable[[pa.Array], pa.Array]) -> pa.Array:
        """The hashes of distinct names; those of new ones are made by ``hashes_of``."""
        new = names.filter(pc.is_null(pc.index_in(names, value_set=self._names)))
        if len(self._names) + len(new) > MAX_KNOWN:
            self._names, self._hashes = names, hashes_of(names)
        elif len(new):
            self._names = pa.concat_arrays([self._names, new])
            self._hashes = pa.concat_arrays([self._hashes, hashes_of(new)])
        return self._hashes.take(pc.index_in(names, value_set=self._names))


def persons(
    users: pa.Array,
    rules: UserNames,
    key: bytes,
    devices: pa.Array | None = None,
    known: KnownPersons | None = None,
) -> pa.Array:
    """The person of each session.

    Parameters
    ----------
    users
        User names, text [n], which may be null or dictionary-encoded.
    rules
        How to read them.
    key
        The deployment's device key.
    devices
        Normalised ids of the sessions' devices, text [n]. Twelve decimal digits may be an address
        or a person's number; they are an address if they are that of the device.
    known
        Those of earlier batches of the same log, by the same rules and key.

    Returns
    -------
    uint64 [n]
        Null where the name is of no person.
    """
    encoded = users if pa.types.is_dictionary(users.type) else users.dictionary_encode()
    names = encoded.dictionary.cast(pa.string())
    by_name = (known or KnownPersons()).of(names, partial(_hashes, rules=rules, key=key))
    found = by_name.take(encoded.indices)
    if devices is None:
        return found
    return _without_own_addresses(found, encoded, devices)


def _hashes(users: pa.Array, rules: UserNames, key: bytes) -> pa.Array:
    """The persons of distinct user names; null for names of no person. uint64 [n]."""
    names = _canonical(users, rules)
    hashes = pa.array(keyed_hashes(names.drop_null().to_pylist(), key, DOMAIN), pa.uint64())
    numbers = np.cumsum(np.asarray(names.is_valid())) - 1
    return hashes.take(pa.array(numbers, mask=np.asarray(names.is_null())))


def _canonical(users: pa.Array, rules: UserNames) -> pa.Array:
    """One form for every spelling of distinct user names; null for names of no person. Text [n]."""
    folded = pa.array(map(_folded, users.cast(pa.string()).to_pylist()), pa.string())
    parts = pc.extract_regex(folded, _PARTS)
    domain, user, realm = (pc.struct_field(parts, name) for name in ("domain", "user", "realm"))
    # A realm that is left out is an empty one.
    left_out = pa.array(["", *map(_folded, rules.own_realms)], pa.string())
    before = pc.if_else(pc.is_in(domain, left_out), "", _joined(domain, "\\"))
    after = pc.if_else(pc.is_in(realm, left_out), "", _joined("@", realm))
    names = _joined(before, user, after)
    return pc.if_else(_of_nobody(user, rules), pa.scalar(None, pa.string()), names)


_PARTS = r"(?s)^(?:(?P<domain>[^\\@/]+)\\+)?(?P<user>.*?)(?:@(?P<realm>[^@\\]*))?$"


def _folded(name: str | None) -> str | None:
    """NFKC and case folded, twice as one may undo the other; without blanks around it."""
    if name is None or name.isascii():
        return None if name is None else name.strip().lower()
    for _ in range(2):
        name = unicodedata.normalize("NFKC", name).casefold()
    return name.strip()


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _of_nobody(user: pa.Array, rules: UserNames) -> pa.Array:
    patterns = "|".join(f"(?:{pattern})" for pattern in (*rules.anonymous, *rules.machines))
    matched = pc.match_substring_regex(user, f"(?s)^(?:{patterns})$") if patterns else False
    is_address = pc.and_not(
        pc.is_valid(addresses(user)), pc.match_substring_regex(user, _TWELVE_DIGITS)
    )
    nobody = pc.is_in(user, pa.array(["", *PLACEHOLDERS]))
    return pc.fill_null(pc.or_(pc.or_(matched, is_address), nobody), True)


def _without_own_addresses(
    found: pa.Array, encoded: pa.DictionaryArray, devices: pa.Array
) -> pa.Array:
    """Null where the user name is the address of the device itself, in decimal digits."""
    trimmed = pc.utf8_trim_whitespace(encoded.dictionary)
    is_number = pc.match_substring_regex(trimmed, _TWELVE_DIGITS)
    if not pc.any(is_number).as_py():
        return found
    as_address = pc.if_else(is_number, addresses(trimmed), pa.scalar(None, pa.string()))
    same = pc.fill_null(pc.equal(as_address.take(encoded.indices), devices), False)
    return pc.if_else(same, pa.scalar(None, pa.uint64()), found)

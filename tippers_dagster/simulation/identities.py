"""What the log knows devices and people by: addresses, some made up, and user names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.log.people import UserNames
from tippers_dagster.simulation.calendar import Ints
from tippers_dagster.simulation.options import CampusOptions
from tippers_dagster.simulation.people import (
    DEVICE_TYPES,
    LAPTOP,
    NOBODY,
    PHONE,
    STATIC,
    Devices,
    Floats,
    People,
)

MAKERS = {
    STATIC: ("00:1b:a9", "00:17:c8", "00:06:8e", "64:51:06", "b8:27:eb", "00:80:a3"),
    LAPTOP: ("a4:83:e7", "8c:8d:28", "3c:22:fb", "f0:18:98", "9c:b6:d0", "48:51:c5", "dc:41:a9"),
    PHONE: ("8c:f5:a3", "5c:0a:5b", "94:65:2d", "f8:8f:ca", "3c:5a:b4", "64:09:80"),
}
RANDOMISED_SHARE = np.array([0.0, 0.08, 0.88])
"""Share of the devices of each type that make up an address for this network."""
CHANGES = ((14, 0.02), (1, 0.002))
"""Days after which some phones make up another address, and the share of these phones."""

REALM, DOMAIN = "campus.example", "CAMPUS"
USER_NAMES = UserNames(own_realms=(REALM, DOMAIN))
"""How the campus's user names are read."""
ANONYMOUS = f"anonymous@{REALM}"
SPELLINGS = ("{0}", "U{1}", "{0}@" + REALM, "U{1}@" + REALM.title(), DOMAIN + "\\{0}")
SPELLED = np.array([0.60, 0.12, 0.12, 0.06, 0.10])
"""How often devices spell a user name in each way. {0}: the name, {1}: without its first letter."""
ANONYMOUS_SHARES, ANONYMOUS_DEVICES = (0.0, 0.3, 1.0), (0.80, 0.15, 0.05)
"""Share of sessions that show the outer identity only, and how many of the devices have it."""
MACHINES = ("", "host/pc-{0:05d}." + REALM, "PC-{0:05d}$")


@dataclass(frozen=True)
class Identities:
    """The addresses of devices, and the user names with which they log in.

    Attributes
    ----------
    addresses
        Text; those of a device are consecutive, in the order of the devices.
    first
        Per device and one more, the position of its first address.
    period, phase
        Per device: on a day, counted from the campus's first, it has the address at ``first`` plus
        ``(day + phase) // period``. The period is 0 for a device with one address.
    user_names
        Text, each once; empty for none.
    users
        Position of each device's user name, and at the end of the outer identity of all.
    anonymous
        Share of each device's sessions that have the outer identity.
    """

    addresses: pa.Array
    first: Ints
    period: Ints
    phase: Ints
    user_names: pa.Array
    users: Ints
    anonymous: Floats

    def of_devices(self, devices: range) -> range:
        """The addresses of consecutive devices."""
        return range(int(self.first[devices.start]), int(self.first[devices.stop]))

    def address(self, device: Ints, day: Ints) -> Ints:
        """The address that each device has on a day."""
        found: Ints = self.first[device]
        changing = np.flatnonzero(self.period[device])
        who = device[changing]
        found[changing] += (day[changing] + self.phase[who]) // self.period[who]
        return found

    def user(self, device: Ints, rng: np.random.Generator) -> Ints:
        """The user name of each session, as a position among ``user_names``."""
        hidden = rng.random(len(device)) < self.anonymous[device]
        found: Ints = self.users[np.where(hidden, -1, device)]
        return found

    def table(self, people: People, devices: Devices) -> pa.Table:
        """Rows of ``truth_device``, one per address."""
        device = np.repeat(np.arange(len(devices.type)), np.diff(self.first))
        owner = devices.person[device]
        types = pa.array(DEVICE_TYPES).take(pa.array(devices.type[device]))
        persons = pa.array(people.ids.tolist()).take(pa.array(owner, mask=owner == NOBODY))
        return pa.table({"mac_address": self.addresses, "device_type": types, "person_id": persons})


def build_identities(options: CampusOptions, people: People, devices: Devices) -> Identities:
    """Addresses of all devices, and user names of those whose owners log in."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(0, 3)))
    randomised = rng.random(len(devices.type)) < RANDOMISED_SHARE[devices.type]
    period = _periods(devices.type, rng)
    randomised |= period > 0
    first_day, last_day = (
        np.where(devices.person == NOBODY, 0, days[devices.person])
        for days in (people.first_day, people.last_day)
    )
    last_day = np.minimum(last_day, options.days - 1)
    phase = rng.integers(0, np.maximum(period, 1)) - first_day
    counts = np.where(period > 0, (last_day + phase) // np.maximum(period, 1), 0) + 1
    users, anonymous = _users(options, people, devices, rng)
    return Identities(
        addresses=_addresses(np.repeat(devices.type, counts), np.repeat(randomised, counts), rng),
        first=np.append(0, counts.cumsum()),
        period=period,
        phase=phase,
        user_names=users.dictionary,
        users=users.indices.to_numpy(),
        anonymous=anonymous,
    )


def name_of(person_ids: pa.Array) -> pa.Array:
    """The user names of people, by their ids in ``truth_person``; text [n]."""
    return pc.replace_substring_regex(person_ids, "^P", "u")


def _periods(kind: Ints, rng: np.random.Generator) -> Ints:
    """Days after which each device changes its address; 0 for never. Some phone has each period."""
    phones = rng.permutation(np.flatnonzero(kind == PHONE))
    period, taken = np.zeros(len(kind), np.int64), 0
    for days, share in CHANGES:
        some = phones[taken : taken + int(np.ceil(share * len(phones)))]
        period[some] = days
        taken += len(some)
    return period


def _users(
    options: CampusOptions, people: People, devices: Devices, rng: np.random.Generator
) -> tuple[pa.DictionaryArray, Floats]:
    """The user names of devices, then the outer identity of all, and how often each has that."""
    logs_in = rng.random(people.count) < options.logins
    count = len(devices.type)
    spelling = rng.choice(len(SPELLINGS), count, p=SPELLED)
    machine = rng.integers(0, len(MACHINES), count)
    share = rng.choice(ANONYMOUS_SHARES, count, p=ANONYMOUS_DEVICES)
    with_name = (devices.person != NOBODY) & logs_in[devices.person]
    names = name_of(pa.array(people.ids.tolist())).to_pylist()
    users = np.full(count, "", object)
    for device in np.flatnonzero(with_name).tolist():
        name = names[devices.person[device]]
        users[device] = SPELLINGS[spelling[device]].format(name, name[1:])
    for device in devices.fixed():
        users[device] = MACHINES[machine[device]].format(device)
    named = pa.array([*users, ANONYMOUS], pa.string()).dictionary_encode()
    return named, np.where(with_name, share, 0.0)


def _addresses(kind: Ints, randomised: np.ndarray, rng: np.random.Generator) -> pa.Array:
    """Unique addresses: made up by the device, or with the prefix of one of its makers."""
    count = len(kind)
    low = (np.arange(count, dtype=np.int64) * 0x9E3779B1 + int(rng.integers(2**24))) % 2**24
    # A random address has the "locally administered" bit set and the "group" bit clear.
    high = (rng.integers(0, 2**24, count) & 0xFCFFFF) | 0x020000
    for device_type, makers in MAKERS.items():
        prefixes = np.array([int(maker.replace(":", ""), 16) for maker in makers])
        chosen = (kind == device_type) & ~randomised
        high[chosen] = rng.choice(prefixes, int(chosen.sum()))
    octets = np.stack([(word >> shift) & 255 for word in (high, low) for shift in (16, 8, 0)], 1)
    digits = np.array([f"{value:02x}:" for value in range(256)], "S3").view(np.uint8)
    text = digits.reshape(256, 3)[octets].reshape(count, 18)[:, :17]
    return pa.array(np.ascontiguousarray(text).view("S17").ravel().astype(str).tolist())

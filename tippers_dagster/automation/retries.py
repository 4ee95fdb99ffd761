"""How long automation waits before it tries again what failed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tippers_dagster.settings import Settings


def doubling_wait(settings: Settings, tries: ArrayLike) -> NDArray[np.float64]:
    """Seconds to wait after so many failed tries: doubled each time, up to the last try."""
    return settings.retry_delay_seconds * 2.0 ** (np.clip(tries, 1, settings.max_tries) - 1)


def retry_wait(settings: Settings, tries: ArrayLike) -> NDArray[np.float64]:
    """As ``doubling_wait``; when all tries are used up, ``retry_later_seconds``, or infinity."""
    later = settings.retry_later_seconds or np.inf
    used_up = np.asarray(tries) >= settings.max_tries
    return np.where(used_up, later, doubling_wait(settings, tries))

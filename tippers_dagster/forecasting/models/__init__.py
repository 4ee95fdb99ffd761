"""The models that forecast, a module each, imported when they are used.

A model's module has ``train(panel, horizon, seed) -> bytes`` and
``predict(state, panel, horizon) -> quantiles``. What ``train`` gives is all that ``predict`` needs
beside the history up to the origin; it is empty for models that have nothing to learn. A module
whose trained model has a part for each space has ``pick(state, positions)``, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting import names
from tippers_dagster.forecasting.panel import Floats, Panel

Train = Callable[[Panel, int, int], bytes]
"""Of a history, a horizon in days and a seed: the trained model."""

Predict = Callable[[bytes, Panel, int], Floats]
"""float32 [spaces, horizon, slots, levels], in order along the last axis, not yet limited."""


@dataclass(frozen=True)
class Model:
    """How a model is run.

    Attributes
    ----------
    module
        Of this package.
    batch
        Spaces of one task.
    shared
        It learns from all spaces of a task together. Then it is trained once for a backtest, on
        what was known at the first origin, and not again at each.
    needs
        Packages whose absence leaves it out.
    weight
        How long it takes beside the others, roughly: the longest are begun first.
    """

    module: str
    batch: int
    shared: bool = False
    needs: tuple[str, ...] = ()
    weight: int = 0

    @property
    def train(self) -> Train:
        """See ``Train``."""
        return self._module().train

    @property
    def predict(self) -> Predict:
        """See ``Predict``."""
        return self._module().predict

    def pick(self, state: bytes, positions: Sequence[int]) -> bytes:
        """What is needed of a trained model for some of its spaces."""
        pick = getattr(self._module(), "pick", None)
        return state if pick is None else pick(state, positions)

    def missing(self) -> str | None:
        """Why it cannot be run here; None when it can."""
        logging.getLogger("prophet.plot").disabled = True  # it tells that it could draw no plots
        for package in self.needs:
            try:
                import_module(package)
            except (ImportError, OSError) as error:  # OSError: a C library that is not there
                return f"{package} cannot be loaded: {error}"
        return None

    def _module(self) -> Any:
        return import_module(f"{__name__}.{self.module}")


MANY = 2000

MODELS: dict[str, Model] = {
    names.SEASONAL_NAIVE: Model("seasonal_naive", MANY),
    names.PAST_WEEKS: Model("past_weeks", MANY),
    names.ZERO: Model("zero", MANY),
    names.SMOOTHING: Model("smoothing", 25, needs=("statsforecast",), weight=1),
    names.MSTL: Model("mstl", 5, needs=("statsforecast",), weight=3),
    names.LIGHTGBM: Model("boosting", MANY, shared=True, needs=("lightgbm",), weight=4),
    names.PROPHET: Model("prophet_model", 2, needs=("prophet",), weight=2),
    names.TRANSFORMER: Model("transformer", MANY, shared=True, needs=("torch",), weight=5),
}


def chosen_models(wanted: Iterable[str]) -> tuple[str, ...]:
    """The models of a backtest, the plainest first; none wanted: all.

    Raises
    ------
    BadInput
        A name that is no model's.
    """
    wanted = set(wanted)
    unknown = sorted(wanted - set(MODELS))
    if unknown:
        raise BadInput(f"{unknown[0]} is no model that forecasts.", f"Take of {', '.join(MODELS)}.")
    return tuple(m for m in MODELS if not wanted or m in wanted or m in names.ALWAYS)


def batches(model: str, spaces: int) -> Iterator[NDArray[np.int64]]:
    """The positions of the spaces of each task of a model."""
    size = MODELS[model].batch
    for low in range(0, spaces, size):
        yield np.arange(low, min(low + size, spaces))

"""The forecasting models, one module each, imported when used.

A model's module has ``train(panel, horizon, seed) -> bytes`` and
``predict(state, panel, horizon) -> quantiles``. The result of ``train`` is all that ``predict``
needs besides the history up to the origin; it is empty for models that learn nothing. A module
whose trained model has a part per space also has ``pick(state, positions)``.
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
"""From a history, a horizon in days and a seed: the trained model."""

Predict = Callable[[bytes, Panel, int], Floats]
"""float32 [spaces, horizon, slots, levels], in order along the last axis, not yet limited."""


@dataclass(frozen=True)
class Model:
    """How a model is run.

    Attributes
    ----------
    module
        Name of its module in this package.
    batch
        Number of spaces per task.
    shared
        It learns from all spaces of a task together, and is trained only once per backtest, on the
        data known at the first origin.
    needs
        Packages without which it is left out.
    weight
        Rough relative duration: the slowest models are started first.
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
        """The part of a trained model that some of its spaces need."""
        pick = getattr(self._module(), "pick", None)
        return state if pick is None else pick(state, positions)

    def missing(self) -> str | None:
        """Why the model cannot be run here; None if it can."""
        logging.getLogger("prophet.plot").disabled = True  # it complains about missing plotly
        for package in self.needs:
            try:
                import_module(package)
            except (ImportError, OSError) as error:  # OSError: a missing C library
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
    """The models of a backtest, the simplest first; all if none is chosen.

    Raises
    ------
    BadInput
        When a name is not that of a model.
    """
    wanted = set(wanted)
    unknown = sorted(wanted - set(MODELS))
    if unknown:
        raise BadInput(
            f"There is no forecasting model {unknown[0]!r}.", f"Models: {', '.join(MODELS)}."
        )
    return tuple(m for m in MODELS if not wanted or m in wanted or m in names.ALWAYS)


def batches(model: str, spaces: int) -> Iterator[NDArray[np.int64]]:
    """The positions of the spaces in each task of a model."""
    size = MODELS[model].batch
    for low in range(0, spaces, size):
        yield np.arange(low, min(low + size, spaces))

"""A small transformer encoder (PyTorch) over the bins of one day, one model for all spaces.

Each bin of the day to forecast is a token: the values of past weeks, the time and the weekday as
sine and cosine, and the calendar of the day. The encoder lets the bins of a day attend to each
other (Vaswani et al., "Attention Is All You Need", 2017); the head gives five quantiles in order.
One model shared by all spaces, each scaled by its own size, trains faster than one model per space,
and lets rarely used rooms learn from busy ones.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tippers_dagster.forecasting.models.features import LAGS, MEDIAN_OF_LAGS, NAMES, Inputs
from tippers_dagster.forecasting.panel import LEVELS, MEDIAN, WEEK_DAYS, Floats, Panel

D_MODEL, HEADS, LAYERS, DROPOUT = 64, 4, 2, 0.2
BATCH = 64
EPOCHS = 25
STEPS = (200, 900)
"""Minimum and maximum number of training steps; a sample is one day of one space."""

LEARNING_RATE = 2e-3
WIDTH = len(NAMES) + LAGS
"""Inputs, and a flag per lag for unknown values."""


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """The weights as a numpy file; empty if there is nothing to learn from."""
    import torch

    inputs, rng = Inputs(panel), np.random.default_rng(seed)
    weeks = int(inputs.ahead_of(horizon)[-1])
    target = inputs.scaled[:, WEEK_DAYS * weeks :]
    space, day = np.nonzero(np.isfinite(target).any(axis=2))
    if not len(space):
        return b""
    day = day + WEEK_DAYS * weeks
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _network()
        steps = int(np.clip(EPOCHS * len(space) // BATCH, *STEPS))
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
        for _ in range(steps):
            drawn = rng.integers(0, len(space), min(BATCH, len(space)))
            ahead = rng.integers(1, weeks + 1, len(drawn))
            tokens = _tokens(inputs, space[drawn], day[drawn], ahead)
            actual = inputs.scaled[space[drawn], day[drawn]]
            loss = _pinball(model(torch.from_numpy(tokens)), torch.from_numpy(actual))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return _packed(model)


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """The quantiles of every bin of the horizon."""
    import torch

    found = np.zeros((len(panel.spaces), horizon, panel.slots, len(LEVELS)), np.float32)
    if not state:
        return found
    model = _unpacked(state)
    model.eval()
    inputs = Inputs(panel)
    days, ahead = panel.days + np.arange(horizon), inputs.ahead_of(horizon)
    with _one_thread(), torch.no_grad():
        for space in range(len(panel.spaces)):
            tokens = _tokens(inputs, np.full(horizon, space), days, ahead)
            found[space] = model(torch.from_numpy(tokens)).numpy() * inputs.scale[space]
    return found


def _packed(model: Any) -> bytes:
    """The weights as numpy arrays, as torch's own format is a pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{k: v.numpy() for k, v in model.state_dict().items()})
    return buffer.getvalue()


def _unpacked(state: bytes) -> Any:
    import torch

    model = _network()
    with np.load(io.BytesIO(state), allow_pickle=False) as found:
        model.load_state_dict({name: torch.from_numpy(found[name]) for name in found.files})
    return model


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: models run in parallel, and threads of a small one only wait."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tokens(inputs: Inputs, space: Any, day: Any, ahead: Any) -> Floats:
    """float32 [days, slots, WIDTH]; unknown values are 0, and flagged if they are lags."""
    slot = np.arange(inputs.panel.slots)
    rows = inputs.at(space[:, None], day[:, None], slot[None, :], ahead[:, None])
    unknown = np.isnan(rows[..., :LAGS])
    return np.concatenate([np.nan_to_num(rows), unknown], axis=-1).astype(np.float32)


def _network() -> Any:
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(WIDTH, D_MODEL)
            layer = nn.TransformerEncoderLayer(
                D_MODEL, HEADS, 2 * D_MODEL, DROPOUT, batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
            self.head = nn.Linear(D_MODEL, len(LEVELS))

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            out = self.head(self.encoder(self.embed(tokens)))
            # Only the difference from the median of the past weeks is learned.
            past_median = tokens[..., MEDIAN_OF_LAGS : MEDIAN_OF_LAGS + 1]
            middle = past_median + out[..., MEDIAN : MEDIAN + 1]
            steps = nn.functional.softplus(out - 2)  # narrow at first; quantiles never cross
            below = middle - steps[..., :MEDIAN].flip(-1).cumsum(-1).flip(-1)
            above = middle + steps[..., MEDIAN + 1 :].cumsum(-1)
            return torch.cat([below, middle, above], dim=-1)

    return Encoder()


def _pinball(quantiles: Any, actual: Any) -> Any:
    """Mean pinball loss over the known values."""
    import torch

    known = torch.isfinite(actual)
    levels = torch.tensor(LEVELS)
    over = actual[known][:, None] - quantiles[known]
    return torch.maximum(levels * over, (levels - 1) * over).mean()

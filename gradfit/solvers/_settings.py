"""What users may set: every number, count and flag of estimators, solvers and functions, checked by name."""

from __future__ import annotations

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from gradfit.solvers._checkpoint import wrong_path


class Kind(NamedTuple):
    """What a setting may be."""

    types: tuple
    low: float
    high: float
    allowed: str

    def admits(self, value) -> bool:
        """Return whether a value is of this kind."""
        if isinstance(value, (bool, np.bool_)) and bool not in self.types:
            return False
        return isinstance(value, self.types) and (value is None or bool(self.low <= value <= self.high))


_TINY, _HUGE = np.nextafter(0.0, 1.0), np.finfo(np.float64).max
FLAG = Kind((bool, np.bool_), 0, 1, "a bool")
COUNT = Kind((Integral,), 1, np.inf, "an integer >= 1")
POSITIVE = Kind((Real,), _TINY, _HUGE, "a number > 0")
OPTIONAL_POSITIVE = Kind((Real, type(None)), _TINY, _HUGE, "None or a number > 0")
FRACTION = Kind((Real,), _TINY, np.nextafter(1.0, 0.0), "a number in (0, 1)")
_OPTIONAL_COUNT = Kind((Integral, type(None)), 1, np.inf, "None or an integer >= 1")
_FLAGS = "fit_intercept", "standardize", "warm_start", "record_path", "interaction_only", "early_stopping"

_KINDS = {
    "alpha": Kind((Real,), 0, _HUGE, "a number >= 0"),
    "C": Kind((Real,), _TINY, np.inf, "a number > 0 (np.inf: no penalty)"),
    "l1_ratio": Kind((Real,), 0, 1, "a number in [0, 1]"),
    "tol": Kind((Real,), 0, _HUGE, "a number >= 0 (0 switches the stop rule off)"),
    "verbose": Kind((Integral, bool), 0, np.inf, "an integer >= 0"),
    "validation_fraction": FRACTION,
    **dict.fromkeys(("degree", "n_starts", "order", "n_iter_no_change"), COUNT),
    **dict.fromkeys(("max_iter", "batch_size"), _OPTIONAL_COUNT),
    **dict.fromkeys(_FLAGS, FLAG),
}


def check_settings(owner: str, settings: dict, **kinds: Kind) -> None:
    """Raise ValueError that names the first wrong setting; `kinds` are stricter than usual, or of other names."""
    kinds = _KINDS | kinds
    wrong = {name: kinds[name].allowed for name in settings if name in kinds and not kinds[name].admits(settings[name])}
    try:
        check_random_state(settings.get("random_state"))
    except ValueError:
        wrong["random_state"] = "None, an int or a RandomState"
    if settings.get("checkpoint") is not None and (must_be := wrong_path(settings["checkpoint"])):
        wrong["checkpoint"] = must_be
    for name, allowed in wrong.items():  # the first is named
        raise ValueError(f"{owner}: {name}={settings[name]!r} is not allowed; it must be {allowed}.")

"""What makes a fit the same fit in another process: its settings, as texts, and its rows, as a few numbers."""

from __future__ import annotations

import hashlib
import re
from numbers import Real
from typing import Any

import numpy as np

_TOL = 1e-9  # of sums over rows, which other machines take in another order; float32 ones have 64 roundings
_MOST_SHOWN = 60  # characters of a setting
_STATISTICS = "mean", "standard deviation", "order"


def identity_of(owner: str, settings: dict, raisable=()) -> dict:
    """Return the version, the estimator and its settings, each as a text that is equal where it means the same."""
    import gradfit

    return {
        "version": gradfit.__version__, "estimator": owner,
        "settings": {name: described(value) for name, value in settings.items()}, "raisable": list(raisable),
    }  # fmt: skip


def described(value: Any) -> str:
    """Return a text that is equal for equal settings in any process: no addresses, all digits, but short."""
    with np.printoptions(precision=17, threshold=10**9):
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", _told(value))
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... (digest {_digest(text)})"


def _told(value, deep=3) -> str:
    if isinstance(value, (bool, str)):
        return repr(value)
    if isinstance(value, Real):
        number = float(value)
        return repr(int(number) if number.is_integer() else number)
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{_told(key)}: {_told(part)}" for key, part in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_told, value)) + "]"
    if hasattr(value, "__code__"):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        bound = [getattr(part, "__qualname__", None) or _told(part) for part in cells]
        return f"{value.__qualname__} (digest {_digest(repr([_code(value.__code__), bound]))})"
    for convert in ("toarray", "__array__"):  # sparse matrices, arrays, series
        if hasattr(value, convert):
            return _told(getattr(value, convert)().tolist())
    parts, kind = _parts(value), type(value)
    if parts is None or not deep:
        return repr(value)
    return f"{kind.__name__}({', '.join(f'{name}={_told(part, deep - 1)}' for name, part in parts.items())})"


def _parts(value) -> dict | None:
    """Return the settings of an object by name, or None if it tells them itself."""
    if hasattr(value, "get_config"):  # of Keras, which numbers the names
        return {name: part for name, part in value.get_config().items() if name != "name"}
    if hasattr(value, "get_params"):
        return value.get_params(deep=False)
    tells: Any = type(value).__repr__
    return vars(value) if tells is object.__repr__ and hasattr(value, "__dict__") else None


def _code(code):
    """Return what a function does, whichever file and line it is written in."""
    constants = [_code(part) if hasattr(part, "co_code") else repr(part) for part in code.co_consts]
    return code.co_code.hex(), code.co_names, constants


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def fingerprint(rows) -> dict:
    """Return what tells rows from others: shape, type, total weight, moments, a sample of targets and weights.

    Of an endless stream nothing but shape and type is always the same; a stream may be shuffled.
    """
    facts: dict[str, Any] = {
        "the number of columns": rows.n_features, "the type of X": rows.dtype.name,
        "the number of targets": rows.n_targets or 1,
    }  # fmt: skip
    if rows.is_endless:
        return facts
    mean, deviation = rows.moments()
    facts |= {"the number of rows": rows.n_rows, "the total weight": np.array([[rows.total_weight]])}
    facts["X"] = np.stack([mean, deviation])
    if not rows.comes_in_batches:
        sample = zip(("y", "sample_weight", "offset"), rows.target_sample(), strict=True)
        facts |= {name: _statistics(np.asarray(part, np.float64)) for name, part in sample}
    return facts


def facts_of(**arrays) -> dict:
    """Return what tells arrays from others, to the last bit; what was not measured, NaN, counts as nothing.

    They are of members that are finished one after the other: one of other rows would be taken for its predecessor.
    """
    facts: dict[str, Any] = {"the type of X": "float64"}
    known = {name: np.nan_to_num(array) for name, array in arrays.items() if array is not None}
    facts |= {f"the shape of {name}": " x ".join(map(str, array.shape)) for name, array in known.items()}
    facts |= {name: _statistics(array) for name, array in known.items()}
    digests = {name: hashlib.blake2b(np.ascontiguousarray(a).tobytes(), digest_size=8) for name, a in known.items()}
    return facts | {f"the digest of {name}": digest.hexdigest() for name, digest in digests.items()}


def _statistics(values):
    """Return mean, deviation and a mean that depends on the order, a column each."""
    values = values.reshape(len(values), -1)
    return np.stack([values.mean(axis=0), values.std(axis=0), np.cos(np.arange(len(values))) @ values / len(values)])


def difference(then: dict, now: dict) -> str | None:
    """Return what the first thing was that differs, and what it is now, or None."""
    for name in ("version", "estimator"):
        if then[name] != now[name]:
            return _change("the version of gradfit" if name == "version" else "the estimator", then[name], now[name])
    for name in dict.fromkeys([*then["settings"], *now["settings"]]):
        old, new = (part["settings"].get(name) for part in (then, now))
        if old != new and not (name in now["raisable"] and _is_raised(old, new)):
            return _change(name, old, new)
    return _other_rows(then["data"], now["data"])


def _is_raised(old, new) -> bool:
    """Return whether a limit of iterations is not lower than before; "None" is the solver's own."""
    return "None" in (old, new) or int(new) >= int(old)


def _change(what, old, new) -> str:
    return f"{what} was {old} and is {new} now"


def _shown(fact):
    return fact if np.ndim(fact) == 0 else f"of {np.shape(fact)[1]} columns"


def _other_rows(then, now) -> str | None:
    tol = max(_TOL, 64 * float(np.finfo(now["the type of X"]).eps))
    for name in dict.fromkeys([*then, *now]):
        old, new = then.get(name), now.get(name)
        if np.ndim(old) < 2 or np.shape(old) != np.shape(new):
            if np.ndim(old) or old != new:
                return _change(name, _shown(old), _shown(new))
            continue
        size = np.abs(old[0]) + old[1] if len(old) > 1 else np.abs(old[0])
        same = (old == new) | (np.abs(new - old) <= tol * size) | (np.isnan(old) & np.isnan(new))
        if not same.all():
            k, column = np.argwhere(~same)[0]
            what = f"the {_STATISTICS[k]} of {name}" if len(old) > 1 else name
            where = f", column {column}" if old.shape[1] > 1 else ""
            return _change(what + where, float(old[k, column]), float(new[k, column]))
    return None

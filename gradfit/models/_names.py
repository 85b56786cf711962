"""Which names in formulas, equations and signatures are columns, parameters and unknowns."""

from __future__ import annotations

import inspect

import numpy as np

from gradfit.models._formula import RESERVED, parse, parse_equation


def column_names(n_columns: int, given, model) -> tuple[str, ...]:
    """Return what a formula calls the columns of X: their own names, x or x0 if there is one, else x0, x1, ..."""
    if given is not None:
        return tuple(map(str, given))
    if n_columns == 1 and isinstance(model, str) and "x" not in (used := parse(model).names) and "x0" in used:
        return ("x0",)
    return ("x",) if n_columns == 1 else tuple(f"x{k}" for k in range(n_columns))


def names_in_formula(model: str, columns, are_named: bool) -> tuple[str, ...]:
    """Return the parameters of a formula over these columns, which are from a DataFrame or numbered."""
    used = parse(model).names
    names = tuple(name for name in used if name not in columns)
    clash = [name for name in columns if name in RESERVED and name in model]
    if clash:
        raise ValueError(f"NonlinearRegression: the column {clash[0]!r} has the name of a function; rename it.")
    alone = [name for name in names if name in {"x", *(f"x{k}" for k in range(len(columns) + 9))}]
    if alone and not are_named:
        raise ValueError(
            f"NonlinearRegression: {alone[0]!r} in model={model!r} is no column: X has {len(columns)} column(s), named "
            f"{', '.join(columns)}."
        )
    if not names:
        raise ValueError(f"NonlinearRegression: model={model!r} has no parameters to fit.")
    if not set(used) & set(columns):
        raise ValueError(f"NonlinearRegression: model={model!r} uses no column of X: {', '.join(columns)}.")
    return names


def names_in_signature(model, p0) -> tuple[str, ...]:
    """Return the parameters of a function ``model(x, a, b, ...)``; p0, p1, ... where only `p0` tells their number."""
    try:
        given = list(inspect.signature(model).parameters.values())[1:]
    except (TypeError, ValueError):
        given = []
    if given and all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in given):
        return tuple(p.name for p in given if p.default is p.empty)
    if p0 is None or isinstance(p0, dict):
        raise ValueError(
            "NonlinearRegression: the parameters of the model cannot be told from its signature; write "
            "model(x, a, b, ...), or give p0 as an array."
        )
    return _numbered("p", p0)


def names_of_parameters(declared, X, equations) -> tuple[str, ...]:
    """Return the names of the columns of an equation system's parameter rows."""
    if declared is not None:
        names = tuple(declared)
    elif X is None:
        names = ()
    elif hasattr(X, "columns"):
        names = tuple(map(str, X.columns))
    elif callable(equations):
        names = _numbered("p", X) if np.ndim(X) == 2 else ()
    else:
        raise ValueError("EquationSystem: X was given, but `parameters` does not name its columns.")
    if names and X is None:
        raise ValueError(f"EquationSystem: the parameters {', '.join(names)} have no values; call fit(X) with them.")
    return names


def names_of_unknowns(unknowns, parameters, x0, equations) -> tuple[str, ...]:
    """Return the unknowns: those declared, then the other names in the equations that are no parameters."""
    declared = tuple(unknowns or ())
    if len(set(declared)) < len(declared) or set(declared) & set(parameters):
        clash = next(n for n in declared if declared.count(n) > 1 or n in parameters)
        raise ValueError(f"EquationSystem: {clash!r} is named twice among unknowns and parameters.")
    if callable(equations):
        if not declared and x0 is None:
            raise ValueError("EquationSystem: a function needs x0, or `unknowns`, to tell how many unknowns it has.")
        return declared or _numbered("x", x0)
    reserved = [name for name in (*declared, *parameters) if name in RESERVED]
    if reserved:
        raise ValueError(f"EquationSystem: {reserved[0]!r} is a function or constant; give it another name.")
    used = dict.fromkeys(name for text in equations for name in parse_equation(text).names)
    unused = [name for name in (*declared, *parameters) if name not in used]
    if unused:
        raise ValueError(f"EquationSystem: {unused[0]!r} is declared but stands in no equation.")
    names = declared + tuple(name for name in used if name not in declared and name not in parameters)
    if not names:
        raise ValueError("EquationSystem: the equations have no unknowns.")
    return names


def _numbered(letter, values) -> tuple[str, ...]:
    """Return one name for each entry of the last axis, or for a single value."""
    return tuple(f"{letter}{k}" for k in range(np.shape(np.atleast_1d(values))[-1]))

"""Ranges of formulas over many boxes at once: of their values, their slopes and, to narrow these, their curvatures.

Numbers, and what is made of numbers and parameters alone, count as the float nearest to them, as they do when
TensorFlow evaluates the formula. A power whose exponent holds an unknown has a base >= 0.

References
----------
Neumaier: Interval Methods for Systems of Equations (1990). Benhamou, Goualard, Granvilliers, Puget: Revising hull and
box consistency, ICLP (1999), for `narrow`.
"""

from __future__ import annotations

import math

import numpy as np

from gradfit.models._formula import Expression, parse, step_name
from gradfit.models._intervals import EVERYTHING, RANGES, SLOPES, Flags, holds_zero, meet, narrowed, outward, product

_REWRITTEN = {
    "tan": "sin(a)/cos(a)", "sigmoid": "1/(1 + exp(-a))", "square": "a**2", "min": "-max(-a, -b)",
    "log2": f"log(a)/{math.log(2.0)!r}", "log10": f"log(a)/{math.log(10.0)!r}", "pow": "exp(b*log(a))",
}  # fmt: skip


class Ranges:
    """Formulas as one list of operations, those that are the same written once, over boxes of their unknowns.

    Boxes are arrays (2, p, n), the ends of p unknowns in n boxes; `own` holds the q parameters of each box, (q, n).

    Parameters
    ----------
    expressions : sequence of Expression
    unknowns, parameters : tuple of str
    """

    def __init__(self, expressions, unknowns, parameters=()):
        names = unknowns + parameters
        self.n_unknowns = len(unknowns)
        self._nodes: dict[tuple, int] = {("name", k): k for k in range(len(names))}
        self._depends = list(np.eye(len(names), len(unknowns), dtype=bool))  # of each operation, on each unknown
        numbers = {name: k for k, name in enumerate(names)}
        self._outputs = np.array([self._add(expression, numbers) for expression in expressions])
        self._n_values = len(self._nodes)
        self._derived: list[list] = []  # of each operation, its slope along each unknown, or None
        self._zero, self._one, self._two = (self._node("number", value) for value in (0.0, 1.0, 2.0))
        self._slopes = self._differentiated(self._outputs)
        self._n_slopes = len(self._nodes)
        self._curvatures = self._differentiated(self._slopes)

    def _add(self, expression: Expression, numbers) -> int:
        """Add the operations of a formula whose names stand for the operations `numbers`; return the last one's."""
        stack: list[int] = []
        for step in expression._steps:
            if isinstance(step, tuple):
                name, exponent = step_name(step)
                arguments = stack[-step[1] :] + ([] if exponent is None else [self._node("number", exponent)])
                stack[-step[1] :] = [self._call(name, arguments)]
            else:
                stack.append(numbers[step] if isinstance(step, str) else self._node("number", step))
        return stack.pop()

    def _call(self, name, arguments):
        if name == "pow" and not self._depends[arguments[1]].any():
            name = "power"
        if name == "mul" and arguments[0] == arguments[1]:
            name, arguments = "power", [arguments[0], self._node("number", 2.0)]
        if name in _REWRITTEN:
            return self._add(parse(_REWRITTEN[name]), dict(zip("ab", arguments, strict=False)))
        return self._node(name, *arguments)

    def _node(self, name, *arguments):
        number = self._nodes.setdefault((name, *arguments), len(self._nodes))
        if number == len(self._depends):
            parts = [self._depends[k] for k in arguments if name != "number"]
            self._depends.append(np.any(parts, axis=0) if parts else np.zeros(self.n_unknowns, bool))
        return number

    def _differentiated(self, outputs):
        """Return the operations that are the slopes of others, an axis longer; constants have the slope zero."""
        operations = list(self._nodes)
        for k in range(len(self._derived), len(operations)):
            name, *arguments = operations[k]
            self._derived.append([
                self._one if (name, k) == ("name", j) else self._slope(k, name, arguments, j) if depends else None
                for j, depends in enumerate(self._depends[k])
            ])  # fmt: skip
        slopes = [[self._zero if slope is None else slope for slope in self._derived[k]] for k in np.ravel(outputs)]
        return np.reshape(slopes, (*np.shape(outputs), self.n_unknowns))

    def _slope(self, k, name, arguments, j):
        """Add the slope of an operation along an unknown, by the chain rule; None where it is constant."""
        slopes = [self._derived[i][j] for i in arguments]
        match name:
            case "add":
                return self._sum(*slopes)
            case "sub":
                return self._sum(slopes[0], self._negative(slopes[1]))
            case "neg":
                return self._negative(slopes[0])
            case "mul":
                return self._sum(self._times(slopes[0], arguments[1]), self._times(slopes[1], arguments[0]))
            case "truediv":
                change = self._sum(slopes[0], self._negative(self._times(slopes[1], k)))
                return None if change is None else self._node(name, change, arguments[1])
            case "max" | "choose":
                ends = [self._zero if slope is None else slope for slope in slopes[-2:]]
                return self._node("choose", *arguments[:2], *ends)
            case "power":
                less = self._node("sub", arguments[1], self._one)
                rest = arguments[0] if arguments[1] == self._two else self._node("power", arguments[0], less)
                return self._times(self._times(slopes[0], rest), arguments[1])
        numbers = dict(zip("ab", arguments, strict=False))
        rules = [self._add(parse(text), numbers) if text != "0" else None for text in SLOPES[name]]
        return self._sum(*(self._times(rule, slope) for rule, slope in zip(rules, slopes, strict=True)))

    def _sum(self, *terms):
        given = [term for term in terms if term is not None]
        return (self._node("add", *given) if len(given) == 2 else given[0]) if given else None

    def _negative(self, term):
        return None if term is None else self._node("neg", term)

    def _times(self, first, second):
        if first is None or second is None:
            return None
        return second if first == self._one else first if second == self._one else self._call("mul", [first, second])

    def _forward(self, box, own, stop):
        """Return the intervals of the first operations; where values are undefined; where slopes are."""
        found: list[np.ndarray] = []
        flags, doubts = Flags(box.shape[2]), Flags(box.shape[2])
        for (name, *arguments), k in zip(self._nodes, range(stop), strict=False):
            if name == "name":
                k = arguments[0]
                part = box[:, k] if k < self.n_unknowns else np.stack([own[k - self.n_unknowns]] * 2)
            elif name == "number":
                part = np.full((2, 1), arguments[0])
            else:
                part = RANGES[name](flags if k < self._n_values else doubts, *(found[i] for i in arguments))
                part = part if self._depends[k].any() else _nearest(part)
            found.append(part)
        return found, flags, doubts

    def values(self, box, own=()):
        """Return the ranges of m formulas, (2, m, n), and the `Flags` of the boxes."""
        found, flags, _ = self._forward(box, own, self._n_values)
        return _stack(found, self._outputs, box.shape[2]), flags

    def linearize(self, box, center, own=()):
        """Return the ranges of m formulas in the boxes and at their centers, and of the slopes, (2, m, p, n).

        Those of the slopes are what two bounds have in common: their own ranges, and their values in the middle with
        the change from there, which the ranges of the curvatures bound. Also returns the `Flags` of the boxes.
        """
        n = box.shape[2]
        found, flags, doubts = self._forward(box, own, len(self._nodes))
        values, slopes = _stack(found, self._outputs, n), _stack(found, self._slopes, n)
        away = outward(box - center)
        change = product(_stack(found, self._curvatures, n), away[:, None, None])
        found, _, _ = self._forward(np.stack([center, center]), own, self._n_slopes)
        bound = _stack(found, self._slopes, n)
        for k in range(self.n_unknowns):
            bound = outward(bound + change[:, :, :, k])
        bound = np.where(flags.broken | doubts.broken | np.isnan(bound), EVERYTHING[:, :, None, None], bound)
        return values, _stack(found, self._outputs, n), meet(slopes, bound), flags

    def narrow(self, box, own=()):
        """Return the parts of the boxes in which all formulas may be zero, and which boxes may have such points."""
        found, flags, _ = self._forward(box, own, self._n_values)
        alive = ~flags.empty
        for k in self._outputs:
            alive &= holds_zero(found[k])
            if self._depends[k].any():
                found[k] = np.zeros_like(found[k])
        for (name, *arguments), k in reversed(list(zip(self._nodes, range(self._n_values), strict=False))):
            if name not in ("name", "number") and self._depends[k].any():
                parts = narrowed(name, found[k], *(found[j] for j in (arguments * 2)[:2]))
                for j, part in zip(arguments, parts, strict=False):
                    if self._depends[j].any():
                        alive &= ~(part[0] > part[1])
                        found[j] = part
        return np.stack(np.broadcast_arrays(*found[: self.n_unknowns]), axis=1), alive


def _nearest(part):
    """Return the float in the middle of an interval that is one rounded number."""
    middle = 0.5 * part[0] + 0.5 * part[1]
    return np.where(np.isfinite(middle), middle, EVERYTHING)


def _stack(parts, numbers, n):
    """Return intervals of operations as one array, of the shape of their numbers between the ends and the boxes."""
    flat = [np.broadcast_to(parts[k], (2, n)) for k in np.ravel(numbers)]
    return np.reshape(np.stack(flat, axis=1), (2, *np.shape(numbers), n))

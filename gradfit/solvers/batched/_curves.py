"""Many curves as one batch: what is evaluated of them, and Levenberg-Marquardt steps until all have ended."""

from __future__ import annotations

from copy import copy
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._tensorflow import tf
from gradfit.losses._kind import LossKind
from gradfit.objectives._residuals import Data, Linearized, Residuals, Sums
from gradfit.solvers._checkpoint import NOTHING_KEPT
from gradfit.solvers._result import RUNNING
from gradfit.solvers.batched._levenberg_marquardt import Box, LevenbergMarquardt, LMState
from gradfit.solvers.batched._shared_out import run_shared

_WIDTHS = 10.0 ** -np.arange(1, 8)
_ROWS = 20_000  # predictions at a time: of 5,000 to 262,144 the fastest, as all that is made of them stays in the cache
_FEW = 64  # curves up to which NumPy adds up the Jacobians, which errors ask for too: no second program to trace
_LOOPED = 64  # members at a time where TensorFlow loops over them, so that an interrupt need not wait


class Standing(NamedTuple):
    """Where a run stands after so many iterations: all that have ended, and the states of those still going."""

    ended: LMState
    state: LMState | None
    going: np.ndarray
    n_iter: int
    loss_curve: list
    best: np.ndarray


class Curves:
    """The curves to fit: a model, rows, targets (B, m), a loss and bounds.

    Rows are shared, (m, d), or own, (B, m, d); weights and bounds are shared, (m,) and (p,), or own, (B, m) and
    (B, p). Rows that fill up a curve have weight 0 and are repeats of one that counts, so that the model is finite
    there. `whitening` multiplies the residuals of each: a diagonal, (B, m), or a matrix, (B, m, m). `shared` are the
    parameters, by number, that all curves have in common.
    """

    kept = NOTHING_KEPT

    def __init__(self, function, kind: LossKind, numbers, X, y, weight, lower, upper, whitening=None, shared=()):
        weight, lower, upper = map(np.atleast_2d, (weight, lower, upper))
        rows, own = ((X,), ()) if X.ndim == 2 else ((), (X,))
        white = () if whitening is None else (whitening,)
        targets = y if whitening is None else whitened(whitening, y)
        held = tuple((lower == upper).all(axis=0).tolist())
        self.data = Data(rows, own, targets, weight, numbers, lower, upper, white)
        self.problem = Residuals(function, kind, held if any(held) else ())
        self.solver = LevenbergMarquardt(tuple(shared))
        self.kind, self.X, self.y, self.aim = kind, X, y, y  # `aim`: y in units of predictions, for starts
        self.n_rows = np.broadcast_to(np.count_nonzero(weight, axis=1), len(y))
        self.interrupted, self._best = False, np.full(len(y), np.inf)
        self.share: Any = None  # what shares problems out on workers and devices
        self.loss_curve: list[float] = []

    def separate(self) -> Curves:
        """Return the same curves with nothing in common."""
        return self._changed(solver=LevenbergMarquardt())

    def holding(self, which, theta) -> Curves:
        """Return the same curves with some parameters, by number, held at theta, (p, B)."""
        lower, upper = (np.broadcast_to(part, theta.T.shape).copy() for part in (self.data.lower, self.data.upper))
        lower[:, which] = upper[:, which] = theta.T[:, which]
        return self._changed(data=self.data._replace(lower=lower, upper=upper))

    def _changed(self, **attributes):
        other = copy(self)
        vars(other).update(attributes, loss_curve=[], _best=np.full(len(self.y), np.inf))
        return other

    def predict(self, theta, owner=None, rows=slice(None)):
        """Return predictions, (B, m), not whitened, for rows (r,), or rows (B, r) of each owner where rows are own."""
        if self.X.ndim == 2:
            data = self.data._replace(shared=(self.X[rows],))
        else:
            own = self.X if owner is None else self.X[owner[:, None], rows]
            data = self.data._replace(own=(own,))
        data = data._replace(y=np.zeros((1, 1)), whitening=())
        return self.problem.program("predict", data, serial=False)(data, theta).numpy()  # of many candidates, as a rule

    def linearize(self, theta, index=slice(None)):
        """Return predictions, Jacobians, (B, m, p), and slopes and curvatures of the loss, (B, m), of some curves."""
        found = self._linearize(self.data.take(index), theta)
        return found.z, found.jacobian.transpose(0, 2, 1), found.slope, found.second

    def sums(self, theta, owner, data=None):
        """Return the sums of members (p, M, G) that stand for the curves `owner`, (M, G); so many at a time as fit."""
        data, flat, members = self.data if data is None else data, theta.reshape(len(theta), -1).T, owner.ravel()
        slab = _LOOPED if self.problem.function.loops else max(1, _ROWS // data.y.shape[1])
        slabs = (slice(k, k + slab) for k in range(0, len(flat), slab))
        found = [self._sums(data.take(members[some]), flat[some]) for some in slabs]
        parts = found[0] if len(found) == 1 else (np.concatenate(part, -1) for part in zip(*found, strict=True))
        return Sums(*(part.reshape(*part.shape[:-1], *owner.shape) for part in parts))

    def _sums(self, data, theta):
        if len(self.y) > _FEW:
            return Sums(*self._call(self._added, data, theta))
        return Sums.of(self._linearize(data, theta), np.asarray(data.y), self.problem.has_link)

    def _linearize(self, data, theta):
        return Linearized(*self._call(self._each, data, theta))

    @staticmethod
    def _call(program, data, theta):
        flat = *data.shared, *data.own, *data[2:7], *data.whitening, np.ascontiguousarray(theta)
        return map(np.asarray, program.flat([*flat]))

    @cached_property
    def _each(self):
        return self._program("linearize")

    @cached_property
    def _added(self):
        return self._program("sums")

    def _program(self, what):
        serial = not self.problem.function.loops and not tf.config.list_logical_devices("GPU")
        return self.problem.program(what, self.data, serial)

    def minimize(self, start, owner, max_iter=1000, tol=1e-9, report=None, hold=None) -> LMState:
        """Minimize from starts, (p, M, G), of the curves `owner`, (M, G); kinks of the loss are sharpened by and by.

        `hold` says which parameters, (p, M, G), are held at which value of their problem, (G,).
        """
        mask = np.array([name == "smoothing" for name in self.kind.number_names], bool)
        widths = _WIDTHS * (float(self.data.y.std(axis=1).max()) or 1.0) if mask.any() else [0.0]
        run = partial(self._run, hold=hold) if self.share is None else partial(run_shared, self.share, self)
        theta = start
        for width in widths:
            data = self.data._replace(numbers=np.where(mask, width, self.data.numbers))
            self._best[owner] = np.inf if mask.any() else self._best[owner]
            ends = run(data, theta, owner, max_iter, tol, report)
            theta = ends.theta
            if self.interrupted:
                break
        return ends._replace(start=start.copy())

    def _run(self, data, theta, owner, max_iter, tol, report, hold):
        """Step until every problem has ended; those that have ended leave at once."""
        n_problems, index, solver = owner.shape[1], np.arange(owner.shape[1]), self.solver
        box, data = self._box(data, owner, hold), data.with_tensors()
        name, state, first = self.kept.next_run(), None, 0
        if (known := self._known(name)) is not None:
            ended, state, index, first = known[:4]
            if state is None:
                return ended
            owner, box = owner[:, index], box.take(index)
        with np.errstate(all="ignore"):
            try:
                if state is None:
                    evaluate = partial(self.sums, owner=owner, data=data)
                    ended = state = solver.settled(solver.start(evaluate, theta, box), tol)
                for count in range(first, max_iter + 1):
                    self._keep(name, ended, state, index, count)
                    self._log(owner, state.value)
                    going = state.status == RUNNING
                    if not going.all():
                        over, going = np.flatnonzero(~going), np.flatnonzero(going)
                        if ended is not state:
                            ended.put(index[over], state.take(over))
                        index, owner, state, box = index[going], owner[:, going], state.take(going), box.take(going)
                    is_last = not len(index) or count == max_iter
                    if report is not None:
                        report(n_problems - len(index), n_problems, float(np.nansum(ended.value)), is_last)
                    if is_last:
                        break
                    evaluate = partial(self.sums, owner=owner, data=data)
                    state = solver.settled(solver.step(evaluate, state, box), tol)
            except KeyboardInterrupt:
                self.interrupted = True
                if state is None:
                    state = ended = solver.unknown(theta, box)
        if ended is not state:
            ended.put(index, state)
        if not self.interrupted:  # and so the limit of iterations is known
            self._keep(name, ended, None, index, count)
        return ended

    def _known(self, name):
        """Return where the run of this name stood or ended, if that is kept."""
        if (known := self.kept.get(name)) is not None:
            self.loss_curve, self._best = list(known.loss_curve), known.best.copy()
            return known._replace(ended=known.ended.map(np.array))
        return None

    def _keep(self, name, ended, state, index, count):
        """Keep where a run stands, or without a state how it ended, as others may change that later."""
        if (keep := self.kept.keeper(name)) is not None and not self.interrupted:
            ended = ended if state is not None else ended.map(np.array)
            keep(partial(Standing, ended, state, index, count, self.loss_curve[:], self._best))

    def _box(self, data, owner, hold):
        size = np.abs(data.y).max(axis=1)[owner]
        if hold is None and np.isinf(data.lower).all() and np.isinf(data.upper).all():
            return Box(None, None, size)
        shape = len(self.y), data.lower.shape[1]
        lower, upper = (np.broadcast_to(part, shape).T[:, owner] for part in (data.lower, data.upper))
        if hold is not None:
            lower, upper = (np.where(hold[0], hold[1], part) for part in (lower, upper))
        return Box(lower, upper, size)

    def _log(self, owner, value):
        """Note the sum over all curves of the lowest objective that each has had, infinite where one has had none."""
        np.minimum.at(self._best, owner, np.where(np.isfinite(value), value, np.inf))
        self.loss_curve.append(float(self._best.sum()))


def whitened(whitening, values):
    """Return ``L v`` per member, for diagonals or matrices L."""
    return whitening * values if whitening.ndim == 2 else np.matmul(whitening, values[..., None])[..., 0]

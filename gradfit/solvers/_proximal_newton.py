"""Proximal Newton for the elastic net: the L1 penalty is handled on the quadratic model, not on the rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from gradfit.backend._tensorflow import tf
from gradfit.objectives._penalty import shrink
from gradfit.solvers._newton import TrustRegion, solve_positive

_ROUND = 50
_MAX_ROUNDS = 20
_SLACK = 1e-9
_INEXACT, _ROUNDING = 1e-11, 1e-15
_POLISHES = 20


class Model(NamedTuple):
    """A quadratic function of v: its Hessian, and its gradient at the origin, where it is exact."""

    matrix: Any
    gradient: Any
    origin: Any

    def slope(self, v):
        """Return the gradient at v."""
        return self.gradient + tf.linalg.matvec(self.matrix, v - self.origin)


class ModelPoint(NamedTuple):
    """A point on the model: the current one, the extrapolated one, the momentum, and whether it is optimal."""

    theta: Any
    ahead: Any
    momentum: Any
    done: Any
    count: Any


class ProximalNewton(TrustRegion):
    """Newton's method for a smooth loss plus an L1 penalty, one pass over the rows an iteration.

    Each model ``g'(u - theta) + (u - theta)' H (u - theta) / 2 + sum(l1 |u|)`` is minimized exactly: FISTA with
    restarts finds which coefficients are about zero, a few Cholesky solves on the others finish.

    References
    ----------
    Lee, Sun, Saunders: SIAM J. Optim. 24 (2014); Beck, Teboulle: SIAM J. Imaging Sci. 2 (2009);
    O'Donoghue, Candes: Found. Comput. Math. 15 (2015).

    Examples
    --------
    >>> from gradfit.solvers import ProximalNewton
    >>> ProximalNewton()
    ProximalNewton()
    """

    handles_l1 = True

    def minimize_model(self, objective, theta, gradient, hessian):
        """Return the minimizer of the quadratic model plus the L1 penalty."""
        scale = tf.sqrt(tf.linalg.diag_part(hessian))
        matrix = hessian / (scale[:, None] * scale[None, :])
        start = theta * scale
        model = Model(matrix, gradient / scale, start)
        l1 = objective.l1_weights(theta) / scale
        step = 1.0 / tf.reduce_max(tf.reduce_sum(tf.abs(matrix), axis=1))

        def one_round(point):
            return (_polish(_descend(point, model, l1, step), model, l1),)

        first = ModelPoint(start, start, tf.constant(1.0, tf.float64), tf.constant(False), tf.constant(0))
        point = tf.while_loop(
            lambda point: ~point.done & (point.count < _MAX_ROUNDS), one_round, (_polish(first, model, l1),)
        )[0]
        return point.theta / scale


def _descend(point: ModelPoint, model: Model, l1, step) -> ModelPoint:
    """Run a round of FISTA, dropping the momentum whenever it points uphill."""
    one = tf.constant(1.0, tf.float64)

    def body(i, theta, ahead, momentum):
        new = shrink(ahead - step * model.slope(ahead), step * l1)
        grown = 0.5 * (1.0 + tf.sqrt(1.0 + 4.0 * momentum**2))
        uphill = tf.tensordot(ahead - new, new - theta, 1) > 0.0
        momentum, grown = tf.where(uphill, one, momentum), tf.where(uphill, one, grown)
        return i + 1, new, new + (momentum - 1.0) / grown * (new - theta), grown

    state = (tf.constant(0), point.theta, point.ahead, point.momentum)
    _, theta, ahead, momentum = tf.while_loop(lambda i, *_: i < _ROUND, body, state)
    return ModelPoint(theta, ahead, momentum, point.done, point.count + 1)


def _polish(point: ModelPoint, model: Model, l1) -> ModelPoint:
    """Go from support to support until the optimality conditions hold: each step lowers the model, none can cycle.

    On a support with given signs the minimizer is a linear solve. A coefficient that would change its sign on
    the way there stops at zero and leaves; where the support is optimal, the worst coefficient outside enters
    (feature-sign search: Lee, Battle, Raina, Ng, NIPS 2006).
    """
    free = l1 <= 0.0
    size = tf.reduce_max(tf.abs(model.gradient)) + tf.reduce_max(l1)
    rounding = _INEXACT * size + _ROUNDING * tf.reduce_max(tf.abs(model.origin))

    def body(i, theta, done):
        gradient = model.slope(theta)
        support = free | tf.not_equal(theta, 0.0)
        inside = tf.where(support, tf.abs(gradient + l1 * tf.sign(theta)), tf.zeros_like(theta))
        outside = tf.where(support, -l1, tf.abs(gradient) - l1 * (1.0 + _SLACK))
        settled = tf.reduce_max(inside) <= rounding
        done = settled & (tf.reduce_max(outside) <= rounding)
        enters = settled & (tf.range(tf.size(theta)) == tf.argmax(outside, output_type=tf.int32)) & ~done
        signs = tf.where(enters, -tf.sign(gradient), tf.sign(theta))
        mask = tf.cast(support | enters, tf.float64)
        reduced = model.matrix * mask[:, None] * mask[None, :] + tf.linalg.diag(1.0 - mask)
        move = solve_positive(reduced, -(gradient + l1 * signs) * mask)
        crossing = ~free & (theta * (theta + move) < 0.0)
        reach = tf.where(crossing, theta / tf.where(crossing, -move, 1.0), tf.ones_like(theta))
        length = tf.reduce_min(reach)
        leaves = crossing & (reach <= length)
        usable = tf.reduce_all(tf.math.is_finite(move)) & ~done
        moved = tf.where(leaves, tf.zeros_like(theta), theta + length * move)
        return i + 1, tf.where(usable, moved, theta), done

    state = (tf.constant(0), point.theta, tf.constant(False))
    _, theta, done = tf.while_loop(lambda i, _, done: ~done & (i < _POLISHES), body, state)
    return point._replace(theta=theta, ahead=theta, momentum=tf.ones_like(point.momentum), done=done)

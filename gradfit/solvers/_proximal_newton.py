"""Proximal Newton for the elastic net: the L1 penalty is handled on the quadratic model, not on the rows."""

from __future__ import annotations

from typing import NamedTuple

from gradfit._penalty import shrink
from gradfit.solvers._newton import TrustRegion, solve_positive

_ROUND = 50
_MAX_ROUNDS = 100
_SLACK = 1e-9


class ModelPoint(NamedTuple):
    """A point on the model: the current one, the extrapolated one, the momentum, and whether it is optimal."""

    theta: object
    ahead: object
    momentum: object
    done: object
    count: object


class ProximalNewton(TrustRegion):
    """Newton's method for a smooth loss plus an L1 penalty, one pass over the rows an iteration.

    Each model ``g'(u - theta) + (u - theta)' H (u - theta) / 2 + sum(l1 |u|)`` is minimized exactly: FISTA with
    restarts finds which coefficients are zero, one Cholesky solve on the others finishes, and the result is
    accepted when it satisfies the optimality conditions.

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
        import tensorflow as tf

        scale = tf.sqrt(tf.linalg.diag_part(hessian))
        matrix = hessian / (scale[:, None] * scale[None, :])
        start = theta * scale
        linear = gradient / scale - tf.linalg.matvec(matrix, start)
        l1 = tf.convert_to_tensor(objective.numbers.l1, tf.float64) / scale
        step = 1.0 / tf.reduce_max(tf.reduce_sum(tf.abs(matrix), axis=1))

        def one_round(point):
            point = _descend(point, matrix, linear, l1, step)
            return (_polish(point, matrix, linear, l1),)

        first = ModelPoint(start, start, tf.constant(1.0, tf.float64), tf.constant(False), tf.constant(0))
        point = tf.while_loop(
            lambda point: ~point.done & (point.count < _MAX_ROUNDS),
            one_round,
            (_polish(first, matrix, linear, l1),),
        )[0]
        return point.theta / scale


def _descend(point: ModelPoint, matrix, linear, l1, step) -> ModelPoint:
    """Run a round of FISTA, dropping the momentum whenever it points uphill."""
    import tensorflow as tf

    one = tf.constant(1.0, tf.float64)

    def body(i, theta, ahead, momentum):
        new = shrink(ahead - step * (tf.linalg.matvec(matrix, ahead) + linear), step * l1)
        grown = 0.5 * (1.0 + tf.sqrt(1.0 + 4.0 * momentum**2))
        uphill = tf.tensordot(ahead - new, new - theta, 1) > 0.0
        momentum, grown = tf.where(uphill, one, momentum), tf.where(uphill, one, grown)
        return i + 1, new, new + (momentum - 1.0) / grown * (new - theta), grown

    state = (tf.constant(0), point.theta, point.ahead, point.momentum)
    _, theta, ahead, momentum = tf.while_loop(lambda i, *_: i < _ROUND, body, state)
    return ModelPoint(theta, ahead, momentum, point.done, point.count + 1)


def _polish(point: ModelPoint, matrix, linear, l1) -> ModelPoint:
    """Solve exactly on the current support and signs; accept if that is optimal."""
    import tensorflow as tf

    inside = tf.not_equal(point.theta, 0.0) | (l1 <= 0.0)
    mask = tf.cast(inside, tf.float64)
    signs = tf.sign(point.theta)
    reduced = matrix * mask[:, None] * mask[None, :] + tf.linalg.diag(1.0 - mask)
    exact = solve_positive(reduced, -(linear + l1 * signs) * mask)
    gradient = tf.linalg.matvec(matrix, exact) + linear
    same_signs = tf.reduce_all((exact * signs >= 0.0) | (l1 <= 0.0))
    outside_small = tf.reduce_all(inside | (tf.abs(gradient) <= l1 * (1.0 + _SLACK)))
    done = tf.reduce_all(tf.math.is_finite(exact)) & same_signs & outside_small
    return point._replace(theta=tf.where(done, exact, point.theta), done=done)

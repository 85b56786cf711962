"""The only room that opens a GradientTape: slopes and curvatures of pointwise losses, derivatives of functions."""

from __future__ import annotations

from gradfit.backend._tensorflow import tf

_FEW_ROWS = 8


def slope(loss, y, raw, weight=None):
    """Return each row's loss and its derivative with respect to `raw`, times its weight."""
    return value_and_gradient(lambda raw: loss(y, raw), raw, weight)


def curvature(loss, y, raw, weight=None):
    """Return each row's loss and its first and second derivatives with respect to a 1-D `raw`, times its weight."""
    with tf.GradientTape() as outer:
        outer.watch(raw)
        rows, first = slope(loss, y, raw, weight)
    return rows, first, outer.gradient(first, raw, unconnected_gradients="zero")


def class_curvature(loss, y, raw, weight, row):
    """Return each row's ``weight d2 l / d raw_row d raw_k`` for all classes k, shape (n, K)."""
    with tf.GradientTape() as outer:
        outer.watch(raw)
        _, first = slope(loss, y, raw, weight)
        component = tf.gather(first, row, axis=1)
    return outer.gradient(component, raw, unconnected_gradients="zero")


def member_jacobians(function, theta):
    """Return ``z = function(theta)``, (B, m), and its transposed Jacobians, (B, p, m); members are independent.

    Wide systems take one backward pass an equation; tall ones one forward pass a parameter, which is the
    derivative of the backward pass with respect to its seed.
    """
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape(persistent=True) as inner:
            inner.watch(theta)
            z = function(theta)
        seed = tf.ones_like(z)
        outer.watch(seed)
        back = tf.convert_to_tensor(inner.gradient(z, theta, output_gradients=seed, unconnected_gradients="zero"))
    if z.shape[1] is not None and z.shape[1] <= theta.shape[1]:
        return z, tf.transpose(_rows_of(inner, z, theta, z.shape[1]), [0, 2, 1])
    return z, _rows_of(outer, back, seed, theta.shape[1])


def row_jacobians(function, theta, n_rows):
    """Return z and p columns of Jacobians, (B, m), of a function that takes parameters row by row and mixes no rows.

    One backward pass does, whatever the number of the parameters, p tensors (B, m).
    """
    shape = [tf.shape(theta)[0], n_rows]
    copies = [tf.broadcast_to(column, shape) for column in tf.split(theta, theta.shape[1], axis=1)]
    with tf.GradientTape() as tape:
        tape.watch(copies)
        z = function(copies)
    return z, [tf.convert_to_tensor(part) for part in tape.gradient(z, copies, unconnected_gradients="zero")]


def column_derivatives(function, columns):
    """Return the values of elementwise functions of columns, and the derivatives of each: lists of (B,).

    Where every member's number stands in a column of its own, a derivative costs little more than its formula.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(columns)
        values = function(columns)
    zeros = tf.zeros_like(columns[0])
    rows = [tape.gradient(value, columns) for value in values]
    return values, [[zeros if part is None else part for part in row] for row in rows]


def _rows_of(tape, target, source, count):
    """Return ``d target / d source`` per member; few rows are cheaper to trace one by one."""
    if count > _FEW_ROWS:
        return tape.batch_jacobian(target, source, unconnected_gradients="zero")
    seeds = [tf.one_hot(tf.fill(tf.shape(target)[:1], k), count, dtype=target.dtype) for k in range(count)]
    rows = [tape.gradient(target, source, output_gradients=s, unconnected_gradients="zero") for s in seeds]
    return tf.stack([tf.convert_to_tensor(row) for row in rows], 1)


def derivative(fun, x, order: int):
    """Return the derivative of an elementwise function, of any order >= 0, by nested tapes; None where unconnected."""
    if order == 0:
        return fun(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        below = derivative(fun, x, order - 1)
    return tape.gradient(below, x, unconnected_gradients="none" if order == 1 else "zero")


def value_and_gradient(fun, x, weight=None):
    """Return a function's value and the gradient, structured as x, of its (weighted) sum; None where unconnected."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = fun(x)
    return value, tf.nest.map_structure(_dense, tape.gradient(value, x, output_gradients=weight))


def jacobian(fun, x, loops: bool = False):
    """Return a function's value and its Jacobian, value's shape + x's shape; None where unconnected.

    `loops` says that the function branches or loops, whose derivatives TensorFlow cannot vectorize.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        value = fun(x)
    return value, _rows(tape, value, x, loops)


def jacobian_by_columns(fun, x):
    """Return a function's value, (m,), and its Jacobian, (m, p), None where unconnected, in p passes instead of m.

    They are the derivatives of the backward pass with respect to its seed.
    """
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = fun(x)
        seed = tf.ones_like(value)
        outer.watch(seed)
        back = _dense(tape.gradient(value, x, output_gradients=seed))
    if back is None:
        return value, None
    units = [tf.one_hot(k, x.shape[0], dtype=x.dtype) for k in range(x.shape[0])]
    columns = [outer.gradient(back, seed, output_gradients=unit, unconnected_gradients="zero") for unit in units]
    return value, tf.stack(columns, axis=1)


def value_gradient_and_hessian(fun, x, loops: bool = False):
    """Return a scalar function's value, gradient and Hessian; gradient and Hessian are None where unconnected."""
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        value, gradient = value_and_gradient(fun, x)
        if gradient is None:
            return value, None, None
        gradient = gradient + 0.0 * x  # the Hessian of a linear function is zero, not missing
    return value, gradient, _rows(outer, gradient, x, loops)


def _rows(tape, target, source, loops):
    """Return ``d target / d source``, None where unconnected; few rows are cheaper one by one."""
    size = target.shape.num_elements()
    if not 0 < (size or 0) <= _FEW_ROWS:
        return tape.jacobian(target, source, experimental_use_pfor=not loops)
    seeds = [tf.reshape(tf.one_hot(k, size, dtype=target.dtype), target.shape) for k in range(size)]
    rows = [_dense(tape.gradient(target, source, output_gradients=seed)) for seed in seeds]
    return None if rows[0] is None else tf.reshape(tf.stack(rows), (*target.shape, *source.shape))


def _dense(gradient):
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient

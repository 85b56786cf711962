"""The only room that opens a GradientTape: slopes and curvatures of pointwise losses."""

from __future__ import annotations

from gradfit._tensorflow import tf


def slope(loss, y, raw, weight=None):
    """Return each row's loss and its derivative with respect to `raw`, times its weight."""
    with tf.GradientTape() as tape:
        tape.watch(raw)
        rows = loss(y, raw)
    return rows, _require(tape.gradient(rows, raw, output_gradients=weight), loss)


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


def _require(gradient, loss):
    if gradient is None:
        raise ValueError(
            f"loss={loss!r} has no gradient with respect to raw. Write it in TensorFlow operations (tf.math, not "
            "NumPy) and let it depend on raw."
        )
    return gradient


def probe(loss, dtype: str) -> None:
    """Call a loss once on three rows and raise ValueError that names what is wrong with it."""
    y = tf.constant([0.25, 0.5, 0.75], dtype)
    raw = tf.constant([0.5, 0.25, 0.125], dtype)
    try:
        rows, first = slope(loss, y, raw)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"loss={loss!r} failed on three probe rows with {type(error).__name__}: {error}. It is called as "
            f"loss(y, raw) with two {dtype} tensors of shape (n,) and must use TensorFlow operations only, with "
            "numbers as Python floats or tf.cast(..., y.dtype)."
        ) from error
    if rows.shape != (3,):
        raise ValueError(
            f"loss={loss!r} returned shape {tuple(rows.shape)} for 3 rows; it must return one value per row."
        )
    if not bool(tf.reduce_all(tf.math.is_finite(rows) & tf.math.is_finite(first))):
        raise ValueError(f"loss={loss!r} or its gradient is not finite at y=[0.25, 0.5, 0.75], raw=[0.5, 0.25, 0.125].")

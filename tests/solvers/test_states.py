"""A solver's state is arrays: written to one file and read again, it goes on as if nothing had happened."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from gradfit.data._arrays import ArrayRows
from gradfit.losses import AbsoluteError, BinaryLogLoss
from gradfit.objectives._linear import LinearObjective
from gradfit.objectives._penalty import ElasticNet
from gradfit.solvers import LBFGS, GradientDescent, Newton, ProximalGradient, ProximalNewton
from gradfit.solvers._solver import Start

X, LABELS = load_breast_cancer(return_X_y=True)
SOLVERS = {
    "newton": (Newton(), BinaryLogLoss(), 0.0),
    "newton, kinks": (Newton(), AbsoluteError(smoothing=0.5), 0.0),
    "lbfgs": (LBFGS(memory=4), BinaryLogLoss(), 0.0),
    "proximal newton": (ProximalNewton(), BinaryLogLoss(), 1.0),
    "fista": (ProximalGradient(), BinaryLogLoss(), 1.0),
    "adam": (GradientDescent("adam", learning_rate=0.1), BinaryLogLoss(), 0.0),
    "nadam, mini-batches": (GradientDescent("nadam", batch_size=100), BinaryLogLoss(), 0.0),
}


def to_arrays(state):
    """Return a state as named arrays, as one `.npz` file holds them; what is absent is left out."""
    arrays = {}
    for name, part in state._asdict().items():
        if isinstance(part, list):
            arrays |= {f"{name}.{i}": np.asarray(item) for i, item in enumerate(part)}
        elif part is not None:
            arrays[name] = np.asarray(part)
    return arrays


def from_arrays(kind, arrays):
    """Return the state, a NamedTuple of the given type, that `to_arrays` took apart."""
    parts = dict.fromkeys(kind._fields)
    for name, array in arrays.items():
        field, _, index = name.partition(".")
        if index:
            parts[field] = [*(parts[field] or []), array]
        else:
            parts[field] = array if array.ndim else array.item()
    return kind(**parts)


def run(solver, objective, state, steps, n_steps):
    for _ in range(n_steps):
        state, _ = steps.advance(objective, state, 1, -1.0, 1.0)
    return state


@pytest.mark.parametrize("name", SOLVERS)
def test_a_state_goes_on_from_a_file(name, tmp_path):
    solver, loss, l1_ratio = SOLVERS[name]
    rows = ArrayRows(X, LABELS.astype(float), np.ones(len(X)))
    objective = LinearObjective(loss, rows, ElasticNet(1e-3, l1_ratio), True).standardized()
    start = Start(np.zeros(objective.size), seed=3)
    with solver.session(objective) as steps:
        half = run(solver, objective, steps.init(objective, start), steps, 4)
        np.savez(tmp_path / "state.npz", **to_arrays(half))
        whole = run(solver, objective, half, steps, 4)
    with np.load(tmp_path / "state.npz") as arrays, solver.session(objective) as steps:
        again = from_arrays(type(half), dict(arrays))
        again = run(solver, objective, again, steps, 4)
    assert to_arrays(again).keys() == to_arrays(whole).keys()
    for part, expected in zip(to_arrays(again).values(), to_arrays(whole).values(), strict=True):
        np.testing.assert_array_equal(part, expected)
    assert np.abs(whole.theta - half.theta).max() > 0

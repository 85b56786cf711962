"""EquationSystem with n_starts="all": every root of systems whose roots are known, proofs, and honest doubts."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from gradfit import EquationSystem
from tests.references.boxed_systems import SYSTEMS


def search(equations, bounds, X=None, **settings):
    return EquationSystem(equations, bounds=bounds, n_starts="all", **settings).fit(X)


def doubtful(match, equations, bounds, X=None, **settings):
    with pytest.warns(ConvergenceWarning, match=match):
        return search(equations, bounds, X, **settings)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_all_roots_are_found(system):
    found = search(system.equations, system.bounds)
    known = np.reshape(np.array(system.roots, float), (len(system.roots), -1))
    assert found.complete_
    assert found.status_ == "solved"
    assert len(found.roots_) == len(known)
    distance = np.abs(found.roots_[:, None] - known[None]).max(axis=2)
    np.testing.assert_allclose(distance.min(axis=0), 0, atol=system.atol)
    np.testing.assert_allclose(distance.min(axis=1), 0, atol=system.atol)
    assert found.unique_
    assert found.solved_
    assert found.undecided_.shape == (0, len(system.bounds), 2)


@pytest.mark.parametrize(
    ("equation", "bounds", "roots"),
    [
        ("1/x = 3", (-1, 1), [1 / 3]),  # a pole within
        ("1/x = 0", (-1, 1), []),
        ("1/(x - 1) + 1/(x + 2) = 0", (-5, 5), [-0.5]),
        ("exp(x) = 0", (-50, 50), []),
        ("log(x) = 0", (0, 5), [1]),  # the edge of the domain
        ("x**2 = 4", (-2, 2), [-2, 2]),  # on the edge of the box
        ("x**2 = 4", (-2, 1.999), [-2]),
        ("x**3 = x", (-4, 4), [-1, 0, 1]),  # where boxes are halved
        ("x**-2 = 4", (-3, 3), [-0.5, 0.5]),
        ("x**1.5 = 8", (-5, 5), [4]),
        ("x**(1/3) = 2", (-9, 9), [8]),
        ("2**x = 8", (-9, 9), [3]),
        ("x**x = 4", (0.1, 9), [2]),
        ("min(x, 2) - max(-x, -1) = 1", (-5, 5), [0.5]),
        ("sign(x - 1)*(x**2 - 4)", (1.5, 3), [2]),
        ("atan2(x, 1) = 0.5", (-3, 3), [np.tan(0.5)]),
        ("sigmoid(x) = 0.25", (-9, 9), [-np.log(3)]),
        ("erf(x) = erfc(x)", (-3, 5), [0.4769362762044699]),
        ("log2(x) + log10(x) = 0", (0.1, 5), [1]),
        ("1e-20*x**2 = 1e-26", (0, 1), [1e-3]),  # any units
        ("x**2 = 1e-26", (0, 1), [1e-13]),
        ("x**2 = 1e16", (-1e9, 1e9), [-1e8, 1e8]),
    ],
)
def test_one_unknown(equation, bounds, roots):
    if roots:
        found = search([equation], [bounds])
    else:
        found = doubtful("proves that there is no root", [equation], [bounds])
    assert found.complete_
    np.testing.assert_allclose(np.ravel(found.roots_), roots, rtol=1e-12, atol=1e-300)


def test_no_root_is_an_answer():
    found = doubtful("proves that there is no root within the bounds", ["x**2 + y**2 = 5", "x*y = 20"], [(-5, 5)] * 2)
    assert found.status_ == "no_root"
    assert found.complete_
    assert found.converged_
    assert not found.solved_
    assert np.isnan([*found.solution_, *found.residual_]).all()
    assert found.roots_.shape == (0, 2)


@pytest.mark.parametrize(
    ("equations", "double"),
    [
        (["(x - 1)**2*(x + 2)"], [1]),
        (["x**3 + 3*x = 3*x**2 + 1"], [1]),  # expanded: rounding hides it
        (["x**2"], [0]),
        (["x**2 + y**2 = 2", "x + y = 2"], [1, 1]),
        (["x**3 - x = y", "y**3 - y = x"], [0, 0]),
    ],
)
def test_multiple_roots_are_left_undecided(equations, double):
    found = doubtful("a multiple root", equations, [(-5, 5)] * len(double))
    assert found.status_ == "undecided"
    assert not found.complete_
    assert found.solved_ == (len(found.roots_) > 0)
    box = np.stack([found.undecided_[..., 0].min(axis=0), found.undecided_[..., 1].max(axis=0)], axis=1)
    assert ((box[:, 0] <= double) & (double <= box[:, 1])).all()
    assert np.ptp(box, axis=1).max() < 2e-4
    if not found.solved_:
        np.testing.assert_allclose(found.solution_, double, atol=1e-4)


def test_curves_of_solutions_are_given_up():
    found = doubtful("boxes became too many", ["x**2 + y**2 = 1", "2*x**2 + 2*y**2 = 2"], [(-3, 3)] * 2)
    assert found.status_ == "undecided"
    assert np.isnan(found.solution_).all()
    assert not found.solved_


def test_max_iter_limits_the_sweeps():
    found = doubtful("after max_iter=3 sweeps", ["sin(x)"], [(0.5, 100)], max_iter=3)
    assert found.n_iter_ == 3
    assert not found.complete_


def test_interrupted(monkeypatch):
    from gradfit.solvers.batched._boxes import Search

    sweep = Search._sweep

    def interrupted(self):
        if len(self.roots.owner):
            raise KeyboardInterrupt
        sweep(self)

    monkeypatch.setattr(Search, "_sweep", interrupted)
    found = doubtful("interrupted the search", ["(x - 1)*(x - 1.000001)*(x + 3)"], [(-10, 10)])
    assert found.status_ == "interrupted"
    assert found.solved_
    np.testing.assert_allclose(found.roots_, [[-3]])


def test_rows_of_parameters():
    rows = np.array([[1.0, 2], [4, 2], [-1, 2], [27, 3], [-27, 3], [4, -2]])
    found = doubtful("1 of 6 systems are not solved in full, at rows 2", ["x**n = abs(p)*sign(p)"], [(-5, 5)], rows,
                     parameters=["p", "n"])  # fmt: skip
    expected = [[-1, 1], [-2, 2], [], [3], [-3], [-0.5, 0.5]]
    for roots, known in zip(found.roots_, expected, strict=True):
        np.testing.assert_allclose(np.ravel(roots), known, rtol=1e-13)
    assert found.complete_.all()
    assert found.solved_.tolist() == [True, True, False, True, True, True]
    np.testing.assert_allclose(found.predict([[9.0, 2], [8, 3]]), [[-3], [2]], rtol=1e-13)
    assert found.score([[9.0, 2]]) == 1


def test_a_batch_is_what_each_system_is_alone():
    rows = np.random.default_rng(0).uniform(0.5, 2, (40, 3))
    circles = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"], [(-3, 3)] * 2
    batch = doubtful("not solved in full", *circles, rows, parameters=["r", "d", "s"])
    meet = np.abs(rows[:, 0] ** 2 - rows[:, 2] ** 2 + rows[:, 1] ** 2) < 2 * rows[:, 0] * rows[:, 1]
    assert [len(roots) for roots in batch.roots_] == (2 * meet).tolist()
    for k in np.flatnonzero(meet)[:3]:
        np.testing.assert_array_equal(
            search(*circles, rows[[k]], parameters=["r", "d", "s"]).roots_[0], batch.roots_[k]
        )


def test_more_equations_than_unknowns():
    equations = ["x**2 + y**2 = 5", "x*y = 2", "x - y = 1"]
    np.testing.assert_allclose(search(equations, [(-5, 5)] * 2).roots_, [[-1, -2], [2, 1]])
    doubtful("no root", [*equations, "x + y = 2.9"], [(-5, 5)] * 2)


def test_more_than_three_unknowns():
    found = search(["h*o = 1e-14", "h*a = 1.8e-5*b", "h = o + a", "a + b = 0.1"], [(0, 1)] * 4)
    assert found.complete_
    np.testing.assert_allclose(found.solution_dict_["h"], 1.332679e-3, rtol=1e-5)


def test_the_solution_is_the_first_root_or_the_nearest_to_x0():
    equations = ["x**2 + y**2 = 5", "x*y = 2"], [(-5, 5)] * 2
    np.testing.assert_allclose(search(*equations).solution_, [-2, -1])
    np.testing.assert_allclose(search(*equations, x0=[1.5, 1.2]).solution_, [2, 1])
    assert search(["x = 3"], [(2, 5)]).solution_.tolist() == [3]  # the default x0 is not within


def test_what_is_refused():
    for settings, message in [
        ({"equations": ["x = y + 1", "x*y = 2"], "bounds": {"x": (0, 1)}}, "finite bounds; give both for 'y'"),
        ({"equations": ["x = y + 1"], "bounds": [(0, 1)] * 2}, r"as many equations as unknowns; 1 for 2 \(x, y\)"),
        ({"equations": lambda x: x**2, "x0": [1.0]}, "write the equations as strings"),
        ({"equations": ["x = 1"], "n_starts": "every"}, "must be an integer >= 1, or 'all'"),
        ({"equations": ["x = 1"], "bounds": [(2, 3)], "x0": [5.0]}, "outside its bounds"),
    ]:
        with pytest.raises(ValueError, match=message):
            EquationSystem(**{"n_starts": "all"} | settings).fit()


def test_verbose_and_pickles(capsys):
    found = search(["x**2 = 2"], [(-5, 5)], verbose=1)
    assert "boxes finished, roots 2" in capsys.readouterr().out
    again = pickle.loads(pickle.dumps(found))
    assert again.message_ == found.message_
    assert "all 2 roots within the bounds, each proved" in again.message_
    assert search(["x = 2"], [(-5, 5)]).message_.startswith("Solved: the only root within the bounds, which is proved")


def test_other_starts_are_never_complete():
    found = EquationSystem(["x**2 = 2"]).fit()
    assert found.complete_ is False
    assert found.undecided_ is None

"""EquationSystem: unknowns from equations, one system or one per row of parameters."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import exchange_of_strategy
from gradfit.estimators._shared_members import of_first, raised_on_all, systems_of_all
from gradfit.estimators._solved_systems import SolvedSystems
from gradfit.models._formula import parse_equation
from gradfit.models._names import names_of_parameters, names_of_unknowns
from gradfit.models._written import Written, called_equations
from gradfit.objectives._bounds import bounds_of, check_inside, start_of
from gradfit.solvers._checkpoint import NOTHING_KEPT, checkpoint_of
from gradfit.solvers._identity import facts_of
from gradfit.solvers._progress import batch_printer
from gradfit.solvers._settings import COUNT, OPTIONAL_POSITIVE, check_settings
from gradfit.solvers.batched._all_roots import find_all_roots
from gradfit.solvers.batched._equations import Equations
from gradfit.solvers.batched._roots import Roots, find_roots
from gradfit.solvers.batched._shared_out import joined, sharing
from gradfit.solvers.batched._starts import draw_starts


class EquationSystem(SolvedSystems):
    """Solve ``f(x) = 0`` for the unknowns x, for one system or for one system per row of parameters.

    Linear systems are solved directly, the others by Newton's method with the tape's Jacobian, damped steps and, where
    there is no root, curvature. Scaling happens inside: factors on equations and other units of the unknowns change
    nothing. A system counts as solved only if every equation holds at the returned point: a stationary point that is
    no root says so.

    Parameters
    ----------
    equations : list of str or callable
        Strings such as ``"x**2 + y**2 = r**2"``: arithmetic, functions (``sin``, ``exp``, ``sqrt``, ...), ``pi``
        and ``e``; they are parsed, never evaluated as Python. Or one function ``f(x)`` or ``f(x, p)`` in
        TensorFlow operations that returns the residuals of one system, x of shape (n_unknowns,) and p of shape
        (n_parameters,); batches are made from it.
    unknowns : list of str, optional
        Names of the unknowns. In strings, names that are neither declared unknowns nor parameters are unknowns
        too, in order of appearance.
    parameters : list of str, optional
        Names of the columns of X. The columns of a DataFrame name themselves.
    x0 : dict or array-like of shape (n_unknowns,) or (n_systems, n_unknowns), optional
        Where to start, ones by default. A callable needs it, or `unknowns`, to know how many unknowns there are.
    bounds : dict, sequence of pairs or scipy.optimize.Bounds, optional
        ``{"x": (0, None)}`` or one pair per unknown. No iterate leaves them.
    n_starts : int or "all", default=1
        Starts per system: x0 and low-discrepancy points inside the bounds or around x0, all in one batch. "all" finds
        and proves every root within finite bounds, of equations given as strings, mostly sooner than 50 starts a system
        would: see Notes.
    max_iter : int, default=200
        Iterations from each start; where they find no root, up to four further attempts of at most 60 each follow from
        elsewhere. With "all", how often boxes are halved.
    tol : float, optional
        None, the default, is relative: an equation holds where its residual is a rounding error, at most 128 units in
        the last place of the terms that it is made of, ``|J| |x|`` or the summands of a formula. A number is the
        largest absolute residual instead, in the units of the equations, and nothing else then counts.
    random_state : int, RandomState or None
        Seeds the further starts. None is 0.
    device : str or list of str, default="auto"
        "all", or a list of names, shares the systems out on several devices.
    verbose : int, default=0
        1 prints from how many starts a root has been found, and at last that all are finished.
    checkpoint : str or os.PathLike, optional
        A file in which `fit` keeps, at most once a second, the systems that are finished, a sixteenth or a few thousand
        at a time, or with "all" where the search stands. If there is one, of the same data and settings, `fit` goes on
        from it as if it had never ended. It remains after Ctrl-C and a crash, and is removed after any other end. On
        several devices or workers it is refused.

    Attributes
    ----------
    solution_ : ndarray of shape (n_unknowns,) or (n_systems, n_unknowns)
    solution_dict_ : dict
        The same by name.
    residual_ : ndarray
        Left minus right sides at the solution.
    residual_norm_ : float or ndarray
        Largest absolute residual.
    solved_, converged_ : bool or ndarray
        Whether every equation holds; or else stopped where no step lowers the sum of squares of scaled equations.
    status_, message_ : str or ndarray of str
    rank_ : int or ndarray
        Rank of the Jacobian at the solution.
    unique_ : bool or ndarray
        Whether the solution is locally unique: solved, and of full column rank.
    null_space_ : ndarray of shape (n_unknowns, n_unknowns - rank), or list of them
        Directions in which the residuals do not change to first order.
    roots_ : ndarray of shape (n_found, n_unknowns), or a sequence of them
        The distinct solutions found from all starts, sorted by their first unknown, the second ...; they need not be
        all there are, unless `complete_`.
    complete_ : bool or ndarray
        Whether `roots_` are proved to be all roots within the bounds.
    undecided_ : ndarray of shape (n_boxes, n_unknowns, 2), or list of them
        With "all": the boxes that may hold further roots.
    n_iter_ : int or ndarray
        Iterations of the attempt that led to the solution.
    unknown_names_, parameter_names_ : tuple of str
    parameter_rows_ : ndarray of shape (n_systems, n_parameters), or None
        The parameters that the systems were solved for.
    device_ : str

    Notes
    -----
    ``n_starts="all"`` takes ranges of the formulas over boxes by interval arithmetic: boxes without a zero are dropped,
    the others narrowed by the interval Newton method and halved, until ``|Y f(c)| + |I - Y f'(box)| r < r`` proves that
    a box of radius r about c holds exactly one root (Krawczyk). Then `solved_` means a proved root, whatever `tol`;
    `solution_` is the first root, or the nearest to x0; `predict` searches anew; `status_` is "solved", "no_root",
    which is proved as well, or "undecided": multiple roots cannot be proved. Numbers count as the nearest floats; a
    power with an unknown exponent has a base >= 0; of more equations than unknowns, all hold within rounding.

    Under ``with strategy.scope():`` of a `tf.distribute.MultiWorkerMirroredStrategy` each worker brings some rows of X,
    or none; all systems, in the order of workers, are shared out, and every worker ends with all solutions. An `x0` for
    each system is that of all systems, the same on all workers.

    References
    ----------
    More: Lecture Notes in Mathematics 630 (1978). Krawczyk: Computing 4 (1969). Neumaier: Interval Methods (1990).

    Examples
    --------
    >>> from gradfit import EquationSystem
    >>> system = EquationSystem(["x**2 + y**2 = r**2", "x = 2*y"], parameters=["r"]).fit([[1.0], [5.0]])
    >>> system.solution_.round(4).tolist()
    [[0.8944, 0.4472], [4.4721, 2.2361]]
    >>> system.solved_.tolist()
    [True, True]
    >>> every = EquationSystem(["x**2 + y**2 = 5", "x*y = 2"], bounds=[(-9, 9), (-9, 9)], n_starts="all").fit()
    >>> every.roots_.round(6).tolist(), every.complete_
    ([[-2.0, -1.0], [-1.0, -2.0], [1.0, 2.0], [2.0, 1.0]], True)
    """

    def __init__(
        self,
        equations,
        *,
        unknowns=None,
        parameters=None,
        x0=None,
        bounds=None,
        n_starts=1,
        max_iter=200,
        tol=None,
        random_state=None,
        device="auto",
        verbose=0,
        checkpoint=None,
    ):
        self.equations = equations
        self.unknowns = unknowns
        self.parameters = parameters
        self.x0 = x0
        self.bounds = bounds
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.checkpoint = checkpoint

    @raised_on_all
    def fit(self, X=None, y=None):
        """Solve the system, or one system per row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_systems, n_parameters), optional
            Parameter rows. None solves the one system without parameters.
        y : ignored

        Returns
        -------
        self
        """
        self._check_settings()
        parameters = names_of_parameters(self.parameters, X, self.equations)
        rows = systems_of_all(self, X, parameters)
        names = names_of_unknowns(self.unknowns, parameters, self.x0, self.equations)
        start = start_of(self.x0, names, "x0")
        kept = checkpoint_of(self, raisable=(), parameters=parameters)
        with kept.session(partial(facts_of, X=rows)):
            found = self._solve(names, parameters, rows, start, self.n_starts, exchange_of_strategy(), kept)
            kept.settle({"interrupted"}.intersection(found.status.tolist()))
        self.unknown_names_, self.parameter_names_ = names, parameters
        self._publish(found, rows)
        self._warn(found)
        return self

    def _check_settings(self):
        settings = self.get_params(deep=False) | ({"n_starts": 1} if self.n_starts == "all" else {})
        starts = COUNT._replace(allowed="an integer >= 1, or 'all'")
        check_settings("EquationSystem", settings, max_iter=COUNT, tol=OPTIONAL_POSITIVE, n_starts=starts)
        given = self.equations
        if callable(given):
            if self.n_starts == "all":
                raise ValueError("EquationSystem: n_starts='all' needs formulas: write the equations as strings.")
        elif isinstance(given, str) or not len(given) or not all(isinstance(text, str) for text in given):
            raise ValueError("EquationSystem: equations must be a list of strings, or a function of x.")

    def _rows(self, X, parameters, reset):
        if hasattr(X, "columns") and set(parameters) <= set(map(str, X.columns)):
            X = X[list(parameters)]
        rows = validate_data(self, X, reset=reset, dtype=np.float64)
        if rows.shape[1] != len(parameters):
            raise ValueError(
                f"X has {rows.shape[1]} columns, but EquationSystem has {len(parameters)} parameters: "
                f"{', '.join(parameters) or 'none'}."
            )
        return rows

    def _function(self, names, parameters, start, rows):
        if not callable(self.equations):
            return Written(tuple(parse_equation(text) for text in self.equations), names + parameters)
        example = [np.atleast_2d(start)[0], *([] if rows is None else [rows[0]])]
        return called_equations(self.equations, f"equations={self.equations!r}", *example)

    def _solve(self, names, parameters, rows, start, n_starts, exchange=None, kept=NOTHING_KEPT) -> Roots:
        """Solve the systems of some rows, which the workers of an exchange, and the devices, share out."""
        lower, upper = bounds_of(self.bounds, names)
        is_search = n_starts == "all"
        if not is_search or self.x0 is not None:
            check_inside(start, lower, upper, names, "x0")
        n_systems = 1 if rows is None else len(rows)
        if start.ndim == 2 and len(start) != n_systems:
            raise ValueError(f"x0 has {len(start)} rows, but there are {n_systems} systems.")
        x0 = np.broadcast_to(start, (n_systems, len(names)))
        random_state = of_first(exchange, 0 if self.random_state is None else self.random_state)
        random_state = check_random_state(kept.seed(random_state))
        words = ("boxes", "roots") if is_search else ("attempts", "sum of squares")
        with on_device(self.device) as self.device_:
            function = self._function(names, parameters, start, rows)
            starts = None if is_search else draw_starts(x0, lower, upper, n_starts, random_state)

            def solve(some, report):
                mine = None if rows is None else rows[some]
                equations = Equations(function, () if mine is None else (mine,), lower, upper)
                how: dict = {"max_iter": self.max_iter, "report": report, "kept": kept}
                if starts is None:
                    return find_all_roots(equations, function, mine, None if self.x0 is None else x0[some], **how)
                alike = copy.deepcopy(random_state)  # for every part
                return find_roots(equations, starts[some], tol=self.tol, random_state=alike, **how)

            share = sharing(exchange, self.device_.split(", "), self.checkpoint)
            report = batch_printer("EquationSystem", *words) if self.verbose else None
            parts = [solve(slice(None), report)] if share is None else share(solve, np.arange(n_systems), report)
        found = parts[0] if len(parts) == 1 else joined(parts)
        if is_search:
            found.n_iter[:] = found.n_iter.max()  # sweeps over all of them
        return found if callable(self.equations) else replace(found, equations=tuple(self.equations))

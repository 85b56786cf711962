"""Timings of gradfit beside its peers, as people wait for them. No part of the tests.

``python -m tests.benchmarks [--quick] [--only NAME] ...`` prints, for gradfit and each installed peer of a case, the
first fit of a fresh process (TensorFlow is imported and has made one tensor before the clock starts), fits two to five
one by one, the sum of these five, the median of later fits, the times of the peer over gradfit's, and the quality that
was reached. Each library has processes of its own; they take turns, and medians over the turns are printed. Machines
are noisy: only ratios within one run mean something. ``pip install -e ".[bench]"`` installs the peers; one that is
missing is skipped by name.

Other data: ``--seed``, and for the logistic cases ``--correlation``, ``--scaled``, ``--unscaled``. Other code:
``--against DIR`` runs the gradfit of another checkout as a peer, ``--no-peers`` leaves the others out. ``--json FILE``
keeps all figures; ``--from FILE`` starts from kept ones, of which the cases of ``--only`` are run anew. ``--plot DIR``
draws the pictures. ``--markdown README.md`` writes the table of the README in place.

What has to be done at least
----------------------------
At rates measured on two cores: reading 25 GB/s, writing memory that was not touched before 7 GB/s, and the products by
themselves. In milliseconds:

=========================================  =======================================================  ======
case                                       floor                                                        ms
=========================================  =======================================================  ======
least_squares_tall                         X'X 18, X'y and the test for NaN 10                          28
least_squares_f32, least_squares_f64       X'X 96 or 171, X'y and the test 18 or 35               114, 206
least_squares_wide_f32, .._f64             X'X 120 or 250, Cholesky 22, X'y and the test 5 or 12  147, 284
ridge, elastic_net_correlated              as least_squares_f64; a path of 50 fits 50 times that       206
polynomial_5_of_10                         columns 600, X'X 1,860, Cholesky 300, three passes 360    3,120
adam_steps                                 a bare compiled loop of the same steps                       25
huber, user_loss                           a copy 8, moments 2; a pass of two reads 3 to 4            .
logistic                                   a copy 15, moments 3; a pass of two reads 6                .
ten_classes                                a pass of two products with X and a softmax 10             .
sparse_logistic                            a pass of two products by SciPy 1.4                        .
=========================================  =======================================================  ======
"""

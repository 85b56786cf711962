"""Timings of gradfit beside its peers: same data, same objective, one process a case. No part of the tests.

``python -m tests.benchmarks [--quick] [--only NAME] [--json FILE] [--plot DIR]`` prints, for each case, the first fit
in the process, the median of the later ones and their spread, every installed peer in random order, the ratio to
each, and the quality that each one reached. ``pip install -e ".[bench]"`` installs the peers; one that is missing is
skipped by name. Machines are noisy: only ratios within one run mean something.

Where the time goes
-------------------
What must be done at least, at rates taken just before the run of the README's table: reading 25 GB/s, writing memory
not touched before 7 GB/s, and X'X measured by itself. "Measured" is the median of the later fits of that run, in ms.

======================  =================================================================  ======  ========
case                    floor                                                              ms      measured
======================  =================================================================  ======  ========
least_squares_tall      X'X 18, X'y and the test for NaN 10                                28      30
least_squares_f32       X'X 96, X'y and the test 18                                        114     162
least_squares_f64       X'X 171, X'y and the test 35                                       206     320
least_squares_wide_f32  X'X 120, Cholesky 22, X'y and the test 5                           147     182
least_squares_wide_f64  X'X 250, Cholesky 22, X'y and the test 12                          284     303
many_targets            X'X 12, X'Y 6, the test 1                                          19      42
ridge                   as least_squares_f64                                               206     230
elastic_net             as least_squares_f64                                               206     271
elastic_net_path        the same for each of 50 fits                                       10,300  14,700
huber                   copy 8, moments 2, 6 passes of two reads 19, steps on a sample 7   36      143
quantile                81 steps of X'WX 0.8                                               65      336
user_loss               copy 9, moments 2, 4 passes of two reads 15, steps on a sample 19  45      332
polynomial              columns 600, X'X 1,860, Cholesky 300, three passes 360             3,120   5,060
adam_steps              a bare compiled loop of the same steps                             25      49
minibatch_adam          3,910 steps of that loop                                           98      255
binary_logistic         copy 15, moments 3, 5 passes of two reads 32, steps on a sample 10 60      150
ten_classes             16 passes and 17 on a sample: two products and a softmax, 10       194     503
l1_logistic             copy 16, moments 4, 7 steps of X'WX 44                             328     774
sparse_logistic         77 passes of two products, 1.4 by SciPy                            110     1,745
curves                  10 steps over all curves, compiled by XLA, 2.5                     25      85
two_unknowns            compiled steps                                                     10      20
======================  =================================================================  ======  ========

What is left lies in four places. Pointwise losses with two derivatives from the tape are tens of operations over all
rows, each of which writes memory (huber, user_loss, l1_logistic). TensorFlow's sparse products take five times as long
as SciPy's. A call of a compiled function costs 0.3 to 1 ms, which is most of a small fit. And checking, copying and
publishing around the compiled steps takes as long as the steps do for batches (curves, two_unknowns).
"""

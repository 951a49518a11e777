"""kmorph on MNIST, beside the accuracy that is to be beaten.

The data is read from the four IDX files in ``--folder``, or fetched by `keras.datasets`; without data nothing
is run and the exit status is 2.

    python benchmarks/bench_mnist.py [--folder FOLDER] [--seconds 3600] [--seeds 1] [--report]
"""

from _kmorph_alone import main

if __name__ == "__main__":
    main(__file__, __doc__, "mnist", 3600, {"in old reports": 0.998})

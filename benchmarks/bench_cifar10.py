"""kmorph on CIFAR-10, beside the accuracies that are to be beaten.

The data is read from the batches in ``--folder``, binary or python version, or fetched by `keras.datasets`;
without data nothing is run and the exit status is 2.

    python benchmarks/bench_cifar10.py [--folder FOLDER] [--seconds 3600] [--seeds 1] [--report]
"""

from _kmorph_alone import main

TO_BEAT = {
    "after a short search, in old reports": 0.7437,
    "the Auto-Keras paper, as remembered": 0.8856,
    "the Auto-Keras paper's higher figure, as remembered": 0.964,
}

if __name__ == "__main__":
    main(__file__, __doc__, "cifar10", 3600, TO_BEAT)

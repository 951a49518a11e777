"""Classification of images."""

from __future__ import annotations

from kmorph.problem import ImageInput
from kmorph.tasks.kinds import Classifier


class ImageClassifier(Classifier):
    """Searches for a network that classifies images.

    It trains small networks, grows the best of them by changes that keep what was learned, chooses each
    change by a Gaussian process over architectures, and keeps everything in a folder.

    Parameters
    ----------
    path : path-like, optional
        Folder of the search; None: a new temporary folder, which is kept and is `path_`.
    resume : bool, default=False
        True: go on with the search in `path`, or start one if there is none. False: a folder that holds a
        search is renamed aside (``path.1``, …), or if that search is still at work, the new one begins in the
        first free one of these; nothing is overwritten. A fitted estimator keeps to its own search, wherever
        that was renamed to.
    seed : int, optional
        One seed for everything.
    verbose : bool, default=True
        Whether progress is shown.
    objective : str, callable, Keras metric, scorer, or pair (metric, greater_is_better), optional
        The validation metric that decides which model is the best, ``metric_value`` in the history. By name:
        ``"accuracy"`` (the default), ``"balanced_accuracy"``, ``"auc"`` (one class against the others, the
        mean), ``"f1"`` (the mean over classes; the default where examples have several labels),
        ``"log_loss"``, ``"loss"`` (what is trained on), or a scorer of scikit-learn's. A function is called
        with labels and probabilities; if its direction is not known, give a pair, such as ``(metric, True)``.
        A model trained to its end outranks those that do not beat it on both metric and loss. Growth is led
        by the loss in any case: it says more on few examples.
    time_limit : float, optional
        Seconds of a call of `fit` that gives none.
    class_weight : dict from class to number, or "balanced", optional
        How much the examples of a class count in the loss, in training and validation; metrics are not
        weighted by it. "balanced": in inverse proportion to the examples of each.
    max_models, max_parameters, max_flops : int, optional
        Most models in the search; most weights, and multiply-adds for one image, of a model.
    augment : bool or "auto", default="auto"
        Whether training images are changed at random (shifted, and mirrored where that keeps the class).
        "auto": where enough epochs are to come.
    starts : sequence, optional
        Where the search begins: names (``"cnn"``, ``"resnet"``, ``"densenet"``, ``"mlp"``), names with
        sizes (``("resnet", {"stem_stride": 1, "resolution": 14})``), graphs, Keras models (trained ones
        keep their weights), or functions like those in `kmorph.starts`. A softmax at the end of a network is
        removed, for the search trains on logits, and exported models have one; ends in other probabilities,
        such as sigmoid, are refused, all others are taken as scores. Your own networks receive the
        images unscaled: begin them with ``keras.layers.Rescaling(1 / 255)``, for example.
    morphs : sequence, optional
        How networks may grow, by name (``"Widen"``, …) or class; None: every way.
    hyperparameters : dict, optional
        ``learning_rate``, ``batch_size``, ``weight_decay``, ``label_smoothing``: a number fixes one; ``(low,
        high)`` or ``(low, high, "log")``, or a list of values, let the search vary it, with the
        architecture where that grows. What is not named keeps its default: batches of 64, of 128 from 20,000
        training examples on, with a learning rate of 0.1 for each 64, and weight decay 5e-4, for numbers
        5e-3; labels are smoothed in the last training only, by as much as the network was overconfident
        before. A model that does not fit the memory is trained with half the batch size and learning rate, or
        less; the history has what was used.
    ensemble : bool or "auto", default="auto"
        True: the last model is the mean of two or three, trained to their end one after the other and joined
        into one network; they are chosen for what each adds on the validation data. A short search may have
        time for one only. "auto": those whose mean is clearly better there; where the time is worth 80
        passes over the data, as many as there are starts, up to three. Each must get 15 epochs.
    workers : int, default=1
        Models trained at once.
    executor : concurrent.futures.Executor, optional
        Where models are trained; None: processes of our own, which a crash cannot take down with it. Clones
        and copies of the estimator use the same executor, strategy and callbacks. A pickle leaves out those
        that cannot be pickled, as executors with threads; fitting after unpickling then warns.
    callbacks : sequence of callable, default=()
        Called with each record.
    searcher_args : dict, optional
        Known from Auto-Keras 0.x: ``trainer_args``, ``default_model_len``, ``default_model_width``,
        ``t_min``.
    strategy : "mirrored" or callable, optional
        One model trained by several devices. ``"mirrored"``: by all GPUs of the machine. Or a function
        without arguments that builds a ``tf.distribute.MirroredStrategy`` in the worker (``lambda:
        tf.distribute.MirroredStrategy(["GPU:0", "GPU:1"])``). The hyperparameters ``batch_size`` and
        ``learning_rate`` are those of one device: with r devices (``replicas`` in the history) a batch has
        r times as many images, and the learning rate is r times as high (not that of an `optimizer`).
    max_disk : int, optional
        Most bytes of the folder, with its temporary files. The weights of poor models are dropped to keep
        it; their records stay, and `load_searcher` rebuilds such a model approximately, with a warning.
    loss : str, keras.losses.Loss or callable, optional
        None: cross-entropy. A name that Keras knows, a Keras loss, or a function ``(y_true, y_pred)`` of
        tensors that gives a value for each example. ``y_true`` are class numbers, or one-hot rows where `y`
        had such or the loss's name says "categorical"; ``y_pred`` are probabilities. Cross-entropies of Keras
        compute from logits. With a value for the whole batch, children are not compared with their parents
        while they train, and no ensemble is made. It is not stored: give it again with ``resume=True``.
    optimizer : str or keras.optimizers.Optimizer, optional
        None: Muon for kernels inside the network, stochastic gradient descent with Nesterov momentum for all
        other weights. The learning rate of one given here is the peak of the search's schedule; its weight
        decay and clipping take the place of kmorph's. Give it again with ``resume=True``.
    views : bool, default=False
        Whether predictions, evaluations and exported models take the mean over views of each image: shifted
        by a pixel both ways and, where that keeps the label, mirrored. The network then predicts each image
        three times, or six. The search does not use it, so that it can be set afterwards, as in
        ``clf.set_params(views=True)``.
    encoder : path-like, optional
        Preset of KerasHub's, by name or folder: images are read by this encoder, frozen, and the search is
        for the network behind it; see `docs/pretrained.md`.
    encoder_features : {"embeddings"}, default="embeddings"
        What of the encoder the network reads. For texts there is ``"joined"``, too.

    Attributes
    ----------
    path_ : pathlib.Path
        Folder in which the search is now.
    classes_ : ndarray of shape (classes,)
        The labels, in the order of the columns of `predict_proba`.

    Examples
    --------
    >>> clf = ImageClassifier(path="run")            # doctest: +SKIP
    >>> clf.fit(x_train, y_train, time_limit=60)     # doctest: +SKIP
    >>> clf.evaluate(x_test, y_test)                 # doctest: +SKIP
    """

    _task = "image_classification"
    input = ImageInput

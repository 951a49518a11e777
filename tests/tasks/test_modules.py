"""Modules: a search for data and a loss of the user's own."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split

import kmorph
from kmorph import CnnModule, MlpModule
from kmorph.errors import DataError
from kmorph.losses import classification_loss, regression_loss
from kmorph.metrics import MSE, Accuracy
from kmorph.problem import Classes, LabelSets, Numbers, YesNo
from kmorph.tasks.loss_names import FAMILIAR, check_loss_name
from kmorph.tasks.modules import _compares_numbers, target_of

X, Y = load_digits(return_X_y=True)
ONEHOT = np.eye(10, dtype="float32")[Y]
TRAIN, TEST = (X[:1400] / 16, ONEHOT[:1400]), (X[1400:] / 16, ONEHOT[1400:])
QUICK = {"max_models": 2, "seed": 0, "searcher_args": {"trainer_args": {"max_iter_num": 5}}}


def test_the_flow_of_a_perceptron_again_and_again(tmp_path):
    for _ in range(2):
        mlp = MlpModule(loss=classification_loss, metric=Accuracy, path=tmp_path / "mlp", **QUICK)
        mlp.fit(n_output_node=10, input_shape=TRAIN[0].shape, train_data=TRAIN, test_data=TEST, time_limit=60)
        mlp.final_fit(TRAIN, TEST, trainer_args={"max_iter_num": 5}, retrain=False)
    assert mlp.load_searcher().history and mlp.load_best_model() == mlp.best_graph
    assert mlp.evaluate(*TEST) > 0.85
    predicted = mlp.predict(TEST[0])
    assert predicted.shape == TEST[1].shape and set(np.unique(predicted)) == {0, 1}
    assert Accuracy.compute(mlp.predict_proba(TEST[0]), TEST[1]) == pytest.approx(mlp.evaluate(*TEST))
    again = MlpModule(classification_loss, Accuracy, path=tmp_path / "mlp")
    np.testing.assert_array_equal(again.predict(TEST[0]), predicted)
    assert again.load_searcher().get_best_model_id() == mlp.load_searcher().get_best_model_id()


def test_the_flow_of_a_convolutional_network(tmp_path):
    images = [(a.reshape(-1, 8, 8, 1), b) for a, b in (TRAIN, TEST)]
    cnn = CnnModule("categorical_crossentropy", "accuracy", path=tmp_path / "cnn", **QUICK)
    cnn.fit(10, (1400, 8, 8, 1), *images, time_limit=60)
    cnn.best_graph.to_keras().summary(print_fn=lambda *line, **options: None)
    for item in kmorph.load_searcher(tmp_path / "cnn").history:
        graph = kmorph.load_searcher(tmp_path / "cnn").load_model_by_id(item["model_id"])
        assert graph.draw(tmp_path / f"{item['model_id']}.dot").exists()
    assert cnn.evaluate(*images[1]) > 0.8
    model = keras.models.load_model(cnn.export_keras_model(tmp_path / "best.keras"))
    found = model.predict(images[1][0][:9], verbose=0)
    np.testing.assert_allclose(found, cnn.predict_proba(images[1][0][:9]), atol=1e-4)


def test_loaders_as_train_data(tmp_path):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(TRAIN).batch(32)
    mlp = MlpModule(classification_loss, Accuracy, path=tmp_path / "mlp", **QUICK)
    mlp.fit(10, (64,), dataset, tf.data.Dataset.from_tensor_slices(TEST).batch(32), time_limit=60)
    assert mlp.evaluate(*TEST) > 0.8
    with pytest.raises(DataError, match=r"input_shape is \(8, 8\), but x has shape \(1400, 64\)"):
        mlp.fit(10, (8, 8), dataset)


def test_one_output_is_a_sigmoid(tmp_path):
    x, y = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=0, stratify=y)
    mlp = MlpModule("binary_crossentropy", "accuracy", path=tmp_path / "mlp", **QUICK)
    mlp.fit(1, (30,), (x, y), (x_test, y_test), time_limit=60)
    assert mlp.best_graph.output_shape == (1,)
    assert mlp.predict(x_test).shape == y_test.shape and mlp.evaluate(x_test, y_test) > 0.9
    scores = mlp.predict_proba(x_test)
    assert scores.shape == (len(x_test), 1) and 0 <= scores.min() and scores.max() <= 1
    model = keras.models.load_model(mlp.export_keras_model(tmp_path / "best.keras"))
    np.testing.assert_allclose(model.predict(x_test.astype("float32"), verbose=0), scores, atol=1e-3)


def test_numbers(tmp_path):
    x, y = load_diabetes(return_X_y=True)
    mlp = MlpModule(regression_loss, MSE, path=tmp_path / "mlp", **QUICK)
    mlp.fit(1, (10,), (x[:350], y[:350]), (x[350:], y[350:]), time_limit=60)
    predicted = mlp.predict(x[350:])
    error = mlp.evaluate(x[350:], y[350:])
    assert MSE.compute(predicted, y[350:]) == pytest.approx(error) and error < y.var()
    for pair in ((x[350:], y[350:]), [x[350:], y[350:]]):
        assert mlp.evaluate(pair) == error
    with pytest.raises(DataError, match="x must be a pair"):
        mlp.evaluate((x, y, y))


@pytest.mark.parametrize(
    ("y", "width", "loss", "metric", "kind"),
    [
        (ONEHOT, 10, classification_loss, Accuracy, Classes),
        (Y, 10, "sparse_categorical_crossentropy", "accuracy", Classes),
        (Y % 4, 10, classification_loss, Accuracy, Classes),
        ((ONEHOT + np.roll(ONEHOT, 1, 1)), 10, "binary_crossentropy", "accuracy", LabelSets),
        (Y % 2, 1, "binary_crossentropy", "accuracy", YesNo),
        (Y % 2, 2, classification_loss, Accuracy, Classes),
        (Y % 2, 1, keras.losses.BinaryFocalCrossentropy(), "auc", YesNo),
        (Y * 1.5, 1, None, None, Numbers),
        (Y, 1, "mse", "mse", Numbers),
        (Y, 1, lambda a, b: (a - b) ** 2, "mae", Numbers),
        (Y % 2, 1, keras.losses.Huber(), MSE, Numbers),
        (ONEHOT * 2, 10, regression_loss, MSE, Numbers),
        (ONEHOT, 10, regression_loss, MSE, Numbers),
        (ONEHOT, 10, "mse", "accuracy", Classes),
    ],
)
def test_what_is_predicted_follows_from_labels_and_loss(y, width, loss, metric, kind):
    target = target_of(y, len(y), width, _compares_numbers(loss, metric))
    assert type(target) is kind and target.width == width


def test_what_does_not_go_together(tmp_path):
    mlp = MlpModule(classification_loss, Accuracy, path=tmp_path / "mlp")
    for arguments, words in (
        ((7, (64,), TRAIN), "n_output_node is 7, but y has 10 labels"),
        ((10, (63,), TRAIN), r"input_shape is \(63,\), but x has shape"),
        ((10, (64,), TRAIN[0]), "must be a pair"),
        ((None, (64,), TRAIN), "n_output_node"),
        ((1, (64,), TRAIN), "zeros and ones as y"),
    ):
        with pytest.raises(DataError, match=words):
            mlp.fit(*arguments)
    with pytest.raises(DataError, match="one to three axes.*MlpModule"):
        CnnModule(classification_loss, Accuracy).fit(10, (64,), TRAIN)
    with pytest.raises(DataError, match="no search yet"):
        MlpModule(classification_loss, Accuracy).predict(X)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", [MlpModule, CnnModule])
def test_an_unknown_loss_is_refused_before_data_is_read(module, tmp_path):
    def batches():
        raise AssertionError("read")

    with pytest.raises(DataError, match="'means_squared_error'.*did you mean 'mean_squared_error'"):
        module("means_squared_error", MSE, path=tmp_path / "run").fit(1, (64,), batches)
    assert not list(tmp_path.iterdir())


def test_familiar_losses_are_of_keras():
    for name in FAMILIAR:
        keras.losses.get(name)
    for name in ("MeanSquaredError", None, classification_loss):
        check_loss_name(name)


def test_a_loss_whose_result_has_the_wrong_shape(tmp_path):
    def wrong(y_true, y_pred):
        return keras.ops.zeros((3,))

    with pytest.raises(DataError, match="wrong"):
        MlpModule(wrong, Accuracy, path=tmp_path / "mlp").fit(10, (64,), TRAIN)

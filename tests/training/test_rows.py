"""Tables of vectors are trained row by row."""

import keras
import numpy as np

from kmorph.data import LabelCodec
from kmorph.graph import Embedding
from kmorph.problem import Classes, Problem, TextInput
from kmorph.starts import bag
from kmorph.training.plan import Hyperparameters
from kmorph.training.rows import ROW_RATE, scaled_rows, trained_by_rows
from kmorph.training.step_factory import make_step


def test_rows_get_one_length_and_zero_stays_zero():
    gradient = np.array([[3.0, 4.0], [0.0, 0.0], [1e-6, 0.0], [-1e30, 1e-30]], np.float32)
    found = keras.ops.convert_to_numpy(scaled_rows(keras.ops.convert_to_tensor(gradient)))
    np.testing.assert_allclose(np.sqrt((found**2).mean(axis=1))[[0, 2]], [1.0, 1.0], rtol=1e-5)
    np.testing.assert_array_equal(found[1], 0)


def test_only_rows_of_the_batch_move():
    front = [Embedding(entries=9, units=4)]
    graph = bag((3,), 2, preprocessing=front, dropout=0.0).initialize(0)
    texts = TextInput(tuple("abcdefg"), 2, 1)
    problem = Problem.of(texts, Classes(LabelCodec.from_labels([0, 1])))
    step = make_step(graph, Hyperparameters(weight_decay=0.0), 0, problem=problem)
    assert trained_by_rows(graph, step.model) == [True, False, False, False, False]
    x, y = np.array([[2, 3, 2], [4, 5, 0]] * 8, np.float32), np.array([0, 1] * 8, np.int32)
    step.train(x, y, 0.1, 0)
    moved = step.to_graph().weights[0, "embeddings"] - graph.weights[0, "embeddings"]
    lengths = np.sqrt((moved**2).mean(axis=1))
    np.testing.assert_allclose(lengths[[0, 2, 3, 4, 5]], 0.1 * ROW_RATE, rtol=1e-3)
    np.testing.assert_array_equal(lengths[[1, 6, 7, 8]], 0)

"""PyTorch modules of every kind of layer, start and morph, beside Keras and an independent evaluator."""

import copy
import itertools
from importlib.util import find_spec

import numpy as np
import pytest
from graph_samples import residual, run_python, with_random_weights
from morphs.cases import KINDS as MORPHS
from morphs.cases import draw, parents
from morphs.random_graphs import batch, random_graph, random_weights
from morphs.reference import evaluate
from own_layer_samples import own_graph, own_layers

from kmorph import starts
from kmorph.errors import ExportError
from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    ChannelScale,
    Concat,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalPool,
    Graph,
    GraphBuilder,
    GroupNorm,
    LayerNorm,
    Multiply,
    Normalize,
    Pool,
    Rescale,
    Reshape,
    ZeroPadding,
    chain,
)
from kmorph.graph.layers import FUNCTIONS, KINDS
from kmorph.graph.torch_layers import CODE

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

TOLERANCE = 1e-4  # relative to the largest output

WITHOUT_KMORPH = """
import sys
sys.modules |= dict.fromkeys(("kmorph", "keras", "tensorflow", "jax"))  # importing them fails
import numpy as np, torch
"""


def outputs(module, x):
    """What a module makes of an array in evaluation mode."""
    import torch

    with torch.no_grad():
        return module.eval()(torch.from_numpy(np.asarray(x))).numpy()


def by_keras(graph, x):
    return np.asarray(graph.to_keras()(np.asarray(x, np.float32), training=False))


def difference(found, expected):
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6))


def chained(shape, *layers):
    """A chain of layers with random weights, and a batch for it."""
    b = GraphBuilder(shape)
    chain(b, 0, layers)
    rng = np.random.default_rng(len(layers))
    return random_weights(b.build(), rng, np.float32), rng.normal(size=(3, *shape)).astype(np.float32)


SPACES = {1: (7,), 2: (7, 6), 3: (5, 4, 6)}


def convolutions(rank):
    for kernel, stride, padding in itertools.product((1, 2, 3), (1, 2, 3), ("same", "valid")):
        yield Conv(4, (kernel,) * rank, (stride,) * rank, padding)
    yield Conv(4, (4, 2, 3)[:rank], (1, 2, 3)[:rank])
    yield Conv(6, (2,) * rank, dilation=(2,) * rank, bias=False)
    yield Conv(8, (3,) * rank, dilation=(3, 1, 2)[:rank], groups=2)
    yield Conv(12, (3,) * rank, (2,) * rank, groups=4)  # depthwise, with three filters a channel
    yield Conv(4, (2,) * rank, (1, 2, 2)[:rank], groups=4)


def pools(rank):
    for function, padding in itertools.product(("max", "average"), ("same", "valid")):
        for window, strides in (((2,), (2,)), ((3,), (2,)), ((2,), (1,)), ((3,), (1,)), ((1,), (3,))):
            yield Pool(function, window * rank, strides * rank, padding)
        yield Pool(function, (4, 2, 3)[:rank], (3, 2, 1)[:rank], padding)


def others(rank):
    """Layers with one input; all keep three or more axes' worth of numbers apart, so that order shows."""
    space = SPACES[rank] if rank else ()
    yield BatchNorm()
    yield from (BatchNorm(0.7, 1e-5, scale, center) for scale in (True, False) for center in (True, False))
    yield from (BatchNorm(inference=True), BatchNorm(scale=False, center=False, trainable=False))
    yield from (LayerNorm(), LayerNorm(1e-6, scale=False), LayerNorm(center=False), GroupNorm(2))
    yield GroupNorm(1, 1e-6, scale=False, center=False)
    yield from (
        Dense(5),
        Dense(5, bias=False, trainable=False),
        ChannelScale(),
        ChannelScale(trainable=False),
    )
    yield from (Rescale(0.1), Rescale(1 / 255, -0.5), Normalize((0.1, 2.0, -3.0, 0.0), (1e-9, 4.0, 0.5, 9.0)))
    yield from (Dropout(0.3), Dropout(0.3, per_example=True), Flatten())
    yield Reshape((int(np.prod(space, dtype=int)), 4))
    yield Reshape((2, int(np.prod(space, dtype=int)) * 2))
    yield Reshape((1, 1, 4 * int(np.prod(space, dtype=int))))
    if rank:
        yield from (GlobalPool(function, keep) for function in ("average", "max") for keep in (True, False))
        yield from (Dropout(0.3, spatial=True), ZeroPadding((1, 2, 3)[:rank], (3, 0, 1)[:rank]))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("family", [convolutions, pools])
def test_windows_slide_as_in_keras(rank, family):
    for layer in family(rank):
        graph, x = chained((*SPACES[rank], 4), layer)
        found = outputs(graph.to_torch(), x)
        assert difference(found, by_keras(graph, x)) < TOLERANCE, layer


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_other_layers_compute_the_same_as_in_keras(rank):
    for layer in others(rank):
        graph, x = chained((*SPACES.get(rank, ()), 4), layer)
        found = outputs(graph.to_torch(), x)
        assert difference(found, by_keras(graph, x)) < TOLERANCE, layer


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_are_those_of_keras(function):
    graph, x = chained((5, 4), Activation(function, slope=0.3))
    x = 4 * x
    assert difference(outputs(graph.to_torch(), x), by_keras(graph, x)) < TOLERANCE


def test_nodes_are_merged_as_in_keras():
    b = GraphBuilder((6, 5, 3))
    gate = b.add(Activation("sigmoid"), b.add(Dense(3), b.add(GlobalPool(keep_axes=True), 0)))
    product = b.add(Multiply(), 0, gate)
    total = b.add(Add(), product, 0, gate, product)
    b.add(Concat(), total, 0, product)
    graph = with_random_weights(b.build())
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 3)).astype(np.float32)
    assert difference(outputs(graph.to_torch(), x), by_keras(graph, x)) < TOLERANCE


def test_entries_are_looked_up():
    graph, _ = chained((6,), Embedding(9, 4), Conv(3, (2,)), GlobalPool("max"))
    for kind in (np.float32, np.int64):
        x = np.random.default_rng(0).integers(0, 9, (3, 6)).astype(kind)
        assert difference(outputs(graph.to_torch(), x), by_keras(graph, x)) < TOLERANCE


def test_every_kind_of_layer_is_written_or_refused_by_name():
    assert {*CODE} == {*KINDS}


@pytest.mark.parametrize("kind", starts.KINDS)
@pytest.mark.parametrize("shape", [(12, 11, 2), (40, 3), (6, 7, 8, 2), (5,)])
def test_starts(kind, shape):
    if len(shape) == 1 and kind not in ("mlp", "bag"):
        pytest.skip("needs positions")
    rng = np.random.default_rng(0)
    graph = random_weights(starts.KINDS[kind](shape, 4), rng, np.float32)
    x = batch(graph, rng)
    assert difference(outputs(graph.to_torch(), x), evaluate(graph, x)) < TOLERANCE


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    rng = np.random.default_rng([seed, 7])
    graph = random_weights(random_graph(rng), rng, np.float32)
    x = batch(graph, rng)
    assert difference(outputs(graph.to_torch(), x), evaluate(graph, x)) < TOLERANCE


@pytest.mark.parametrize("kind", MORPHS)
def test_morphed_networks(kind):
    for seed, graph, x, found in itertools.islice(parents(kind, 9_000, np.float32), 3):
        for morph in draw(found, np.random.default_rng(seed), 2):
            child = morph.apply(graph, seed)
            assert difference(outputs(child.to_torch(), x), evaluate(child, x)) < TOLERANCE, morph


def test_bytes_and_other_precisions_are_taken():
    import torch

    graph = with_random_weights(residual())
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 2), dtype=np.uint8)
    module, expected = graph.to_torch(), evaluate(graph, x.astype(float))
    assert difference(outputs(module, x), expected) < TOLERANCE
    assert difference(outputs(module, x.astype(float)), expected) < TOLERANCE
    assert difference(outputs(module.double(), x), expected) < 1e-6
    assert module.bfloat16()(torch.from_numpy(x)).dtype == torch.bfloat16


def test_it_is_readable_and_equally_named_every_time():
    graph = with_random_weights(residual())
    module = graph.to_torch()
    assert str(module) == str(graph.to_torch())
    assert [line.strip() for line in str(module).splitlines()[:9]] == [
        "Network(",
        "(conv_1): Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
        f"(batch_norm_2): {module.batch_norm_2}",
        "(activation_3): ReLU()",
        "(conv_4): Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)",
        "(dropout_7): Dropout(p=0.25, inplace=False)",
        "(global_pool_8): AdaptiveAvgPool2d(output_size=1)",
        "(dense_9): Linear(in_features=8, out_features=3, bias=True)",
        ")",
    ]
    assert {type(part).__module__.partition(".")[0] for part in module.children()} == {"torch"}


def test_structure_alone():
    import torch

    graph = with_random_weights(residual())
    torch.manual_seed(0)
    fresh = graph.to_torch(weights=False)
    assert fresh.training and not graph.to_torch().training and graph.without_weights().to_torch().training
    assert not np.allclose(fresh.conv_1.weight.detach(), graph.to_torch().conv_1.weight.detach())
    np.testing.assert_allclose(fresh.normalize_0_mean.flatten(), [100.0, 90.0])
    assert graph.to_keras(weights=False).count_params() == graph.n_parameters


def test_names_of_the_first_auto_keras():
    graph, x = chained((4,), Dense(3))
    np.testing.assert_array_equal(outputs(graph.produce_model(), x), outputs(graph.to_torch(), x))
    np.testing.assert_array_equal(graph.produce_keras_model()(x), graph.to_keras()(x))


def test_weights_are_copied_and_modules_too():
    import torch

    graph, x = chained((4,), Dense(3))
    module, other = graph.to_torch(), graph.to_torch()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        module.dense_0.weight.zero_()
    assert graph.weights[0, "kernel"].any() and other.dense_0.weight.any() and twin.dense_0.weight.any()


def test_a_module_that_torch_saved_needs_no_kmorph(tmp_path):
    import torch

    graph = with_random_weights(residual())
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype(np.float32)
    torch.save(graph.to_torch(), tmp_path / "module.pt")
    np.savez(tmp_path / "data.npz", x=x, outputs=evaluate(graph, x))
    run_python(
        WITHOUT_KMORPH + "module = torch.load(sys.argv[1], weights_only=False)\n"
        "data = np.load(sys.argv[2])\n"
        "found = module(torch.from_numpy(data['x'])).detach().numpy()\n"
        "np.testing.assert_allclose(found, data['outputs'], rtol=1e-4, atol=1e-5)\n",
        tmp_path / "module.pt",
        tmp_path / "data.npz",
    )


def train_on(module, x, y, loss, steps=30):
    """An ordinary loop; the first and the last loss in training mode."""
    import torch

    x, y = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    module.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        found = loss(module(x), y)
        found.backward()
        optimizer.step()
        losses.append(found.item())
    return losses[0], losses[-1]


@pytest.mark.parametrize("weights", [True, False])
def test_an_ordinary_loop_trains_it_on(weights):
    import torch

    torch.manual_seed(0)
    graph = with_random_weights(residual())
    rng = np.random.default_rng(0)
    y = np.arange(32) % 3
    x = (rng.integers(0, 128, (32, 8, 8, 2)) + 40 * y[:, None, None, None]).astype(np.uint8)
    module = graph.to_torch(weights)
    first, last = train_on(module, x, y, torch.nn.functional.cross_entropy)
    assert last < 0.7 * first
    assert not np.array_equal(module.batch_norm_2.running_mean, graph.weights[2, "moving_mean"])


def test_a_step_in_training_mode_is_that_of_keras():
    import torch

    graph, x = chained((6, 5, 4), Conv(5, (2, 2), (2, 2)), BatchNorm(0.8), Activation("gelu"))
    model, module = graph.to_keras(), graph.to_torch().train()
    found = module(torch.from_numpy(x)).detach().numpy()
    assert difference(found, np.asarray(model(x, training=True))) < TOLERANCE
    norm, n = model.get_layer("batch_norm_1"), 3 * 3 * 3
    np.testing.assert_allclose(module.batch_norm_1.running_mean, norm.moving_mean, rtol=1e-4, atol=1e-6)
    # PyTorch divides by n - 1.
    old = 0.8 * graph.weights[1, "moving_variance"]
    new = (np.asarray(norm.moving_variance) - old) * n / (n - 1)
    np.testing.assert_allclose(module.batch_norm_1.running_var, old + new, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "moving", "trained"),
    [
        (BatchNorm(), True, {"weight", "bias"}),
        (BatchNorm(scale=False), True, {"bias"}),
        (BatchNorm(inference=True), False, {"weight", "bias"}),
        (BatchNorm(trainable=False), False, set()),
        (LayerNorm(center=False), False, {"weight"}),
        (Dense(4, trainable=False), False, set()),
        (ChannelScale(trainable=False), False, set()),
    ],
)
def test_what_is_frozen_stays(layer, moving, trained):
    import torch

    graph, x = chained((6, 5, 4), layer)
    module = graph.to_torch().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    out = module(torch.from_numpy(x))
    assert {name.split(".")[-1] for name, p in module.named_parameters() if p.requires_grad} == trained
    moved = [name for name, value in module.state_dict().items() if not np.array_equal(value, before[name])]
    assert bool(moved) == moving
    assert moving or difference(out.detach().numpy(), outputs(module, x)) < 1e-6


def test_noise_is_that_of_keras():
    import torch

    x = np.ones((400, 3, 3, 8), np.float32)
    for layer, axes in (
        (Dropout(0.25), ()),
        (Dropout(0.25, spatial=True), (1, 2)),
        (Dropout(0.25, per_example=True), (1, 2, 3)),
    ):
        graph = Graph(x.shape[1:], [layer], [[0]])
        torch.manual_seed(0)
        found = graph.to_torch().train()(torch.from_numpy(x)).numpy()
        assert {round(float(value), 5) for value in np.unique(found)} == {0.0, round(1 / 0.75, 5)}
        assert abs(np.mean(found == 0) - 0.25) < 0.06
        assert np.ptp(found, axis=axes).max() == 0 if axes else np.ptp(found, axis=(1, 2)).max() > 0


def test_keras_layers_kept_whole_are_refused_by_name():
    import keras

    tensor = keras.Input((6, 3))
    graph = Graph.from_keras(keras.Model(tensor, keras.layers.LSTM(4, name="memory")(tensor)))
    with pytest.raises(ExportError, match=r"'opaque_0' is Keras' LSTM.*\.keras file"):
        graph.to_torch()


def test_layers_of_other_programs_are_refused_by_name(tmp_path):
    with own_layers(tmp_path) as own, pytest.raises(ExportError, match=r"'scaled_tanh_\d'.*writes"):
        own_graph(own).initialize(0).to_torch()


def test_axes_that_pytorch_has_not():
    graph = Graph((2, 2, 2, 2, 4), [BatchNorm()], [[0]])
    with pytest.raises(ExportError, match="'batch_norm_0'.*4 axes"):
        graph.to_torch()
    with pytest.raises(ExportError, match="'group_norm_0'.*single number"):
        Graph((4,), [GroupNorm(4)], [[0]]).to_torch()


def test_without_pytorch(tmp_path):
    run_python(
        "import sys\nsys.modules['torch'] = None\n"
        "from kmorph import starts\nfrom kmorph.errors import ExportError\n"
        "try:\n    starts.mlp((4,), 2).to_torch()\n"
        "except ExportError as error:\n    assert \"pip install 'kmorph[torch]'\" in str(error)\n"
        "else:\n    raise AssertionError\n"
    )

"""Networks for the table of exports: small ones that hold one kind of thing each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from graph_samples import with_random_weights
from morphs.cases import draw
from morphs.random_graphs import random_graph, random_weights

from kmorph import morphs, starts, tasks
from kmorph.errors import GraphError
from kmorph.export import Views
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
    Layer,
    LayerNorm,
    Multiply,
    Normalize,
    Pool,
    Rescale,
    Reshape,
    ZeroPadding,
    chain,
)
from kmorph.graph.layers import FUNCTIONS
from kmorph.problem import ArrayInput, Classes, Input, LabelSets, Numbers, Target, YesNo

RANKS = (0, 1, 2, 3)  # axes of positions
CHANNELS = 4
SPACES = {0: (), 1: (7,), 2: (7, 6), 3: (5, 4, 6)}
LARGER = {0: (12,), 1: (40, 2), 2: (12, 11, 2), 3: (6, 7, 8, 2)}  # for starts
ENTRIES, LENGTH = 9, 6
TRIED = 300  # random parents, before a morph counts as one that does not fit

LAYERS, FOREIGN, STARTS, MORPHS, TASKS = (
    "Kinds of layers",
    "Other layers",
    "Starts",
    "Morphs",
    "Tasks",
)


@dataclass(frozen=True)
class Case:
    """A network for one row of the table.

    Parameters
    ----------
    section, row : str
    rank : int
    graph : Graph
        With weights.
    """

    section: str
    row: str
    rank: int
    graph: Graph


@dataclass(frozen=True)
class Task:
    """What an estimator exports."""

    row: str
    graph: Graph
    input: Input
    target: Target
    views: Views | None = None


def layers(rank: int) -> dict[str, list[Sequence[Layer]]]:
    """For each kind of layer chains with it that read a node with this many axes of positions."""
    space = SPACES[rank]
    size = CHANNELS * int(np.prod(space, dtype=int))
    ones, twos, threes = ((n,) * rank for n in (1, 2, 3))
    uneven, steps = (4, 2, 3)[:rank], (1, 2, 3)[:rank]
    found: dict[str, list[Sequence[Layer]]] = {
        "Activation": [[Activation(function, slope=0.3)] for function in FUNCTIONS],
        "BatchNorm": [
            [BatchNorm(0.7, 1e-5, scale, center)] for scale in (True, False) for center in (True, False)
        ],
        "ChannelScale": [[ChannelScale()]],
        "Dense": [[Dense(5)], [Dense(5, bias=False, trainable=False)]],
        "Dropout": [[Dropout(0.3)], [Dropout(0.3, per_example=True)]],
        "Flatten": [[Flatten()]],
        "GroupNorm": [[GroupNorm(2)], [GroupNorm(1, 1e-6, scale=False, center=False)]],
        "LayerNorm": [[LayerNorm()], [LayerNorm(1e-6, scale=False)], [LayerNorm(center=False)]],
        "Normalize": [[Normalize((0.1, 2.0, -3.0, 0.0), (1e-9, 4.0, 0.5, 9.0))]],
        "Rescale": [[Rescale(0.1)], [Rescale(1 / 255, -0.5)]],
        "Reshape": [[Reshape((size // 4, 4))], [Reshape((2, size // 2))], [Reshape((1, 1, size))]],
    }
    if rank == 0:
        found["GroupNorm"] = [[GroupNorm(2)]]
        found["GroupNorm, groups of one number"] = [[GroupNorm(CHANNELS)]]
        return found
    found["Dropout"].append([Dropout(0.3, spatial=True)])
    found["Conv"] = [
        *([Conv(3, kernel, padding=padding)] for kernel in (ones, twos, threes) for padding in PADDINGS),
        *([Conv(3, twos, stride, padding)] for stride in (twos, threes) for padding in PADDINGS),
        [Conv(3, uneven, steps, bias=False)],
    ]
    found["Conv with a dilation"] = [
        [Conv(3, twos, dilation=(2, 1, 2)[:rank])],
        [Conv(3, twos, dilation=twos)],
    ]
    found["Conv in groups"] = [
        [Conv(8, threes, groups=2)],
        [Conv(8, threes, dilation=(2, 1, 2)[:rank], groups=2)],
        [Conv(12, threes, twos, groups=CHANNELS)],
        [Conv(4, twos, groups=CHANNELS)],
    ]
    for function in ("max", "average"):
        found[f"Pool, {function}"] = [
            *([Pool(function, twos, stride, padding)] for stride in (ones, twos) for padding in PADDINGS),
            *([Pool(function, threes, twos, padding)] for padding in PADDINGS),
            [Pool(function, ones, threes)],
            [Pool(function, uneven, (3, 2, 1)[:rank])],
        ]
        found[f"GlobalPool, {function}"] = [[GlobalPool(function, keep)] for keep in (True, False)]
    found["ZeroPadding"] = [[ZeroPadding((1, 2, 3)[:rank], (3, 0, 1)[:rank])]]
    return found


PADDINGS = ("same", "valid")


def merging(layer: Layer, rank: int) -> Graph:
    """Nodes merged: of one shape, and twice the same."""
    b = GraphBuilder((*SPACES[rank], CHANNELS))
    other = b.add(Dense(CHANNELS))
    pair = b.add(layer, 0, other)
    third = b.add(layer, other, 0, other)
    b.add(Concat(), pair, third)
    return b.build()


def gate(rank: int) -> Graph:
    """A node times one number for each channel."""
    b = GraphBuilder((*SPACES[rank], CHANNELS))
    b.add(Multiply(), 0, b.add(Activation("sigmoid"), b.add(GlobalPool(keep_axes=True), 0)))
    return b.build()


def layer_cases(rank: int) -> Iterator[Case]:
    for row, chains in layers(rank).items():
        for layers_of in chains:
            b = GraphBuilder((*SPACES[rank], CHANNELS))
            chain(b, 0, layers_of)
            yield Case(LAYERS, f"`{row}`", rank, random_weights(b.build(), _rng(0), np.float32))
    for layer in (Add(), Multiply(), Concat()):
        yield Case(LAYERS, f"`{type(layer).__name__}`", rank, with_random_weights(merging(layer, rank)))
    if rank:
        yield Case(LAYERS, "`Multiply`", rank, gate(rank))


def lookup_cases() -> Iterator[Case]:
    b = GraphBuilder((LENGTH,))
    chain(b, 0, [Embedding(ENTRIES, 4), Conv(3, (2,))])
    yield Case(LAYERS, "`Embedding`", 1, with_random_weights(b.build()))


def foreign_cases(rank: int, own: ModuleType) -> Iterator[Case]:
    """Layers that kmorph itself has no kind for; `own` is the module of `own_layers`."""
    import keras

    axes = "bcd"[:rank]
    dense = keras.layers.EinsumDense(f"a{axes}y,yz->a{axes}z", (*SPACES[rank], 5))
    named: dict[str, Any] = {"`EinsumDense`": dense}
    if rank:
        named["`UpSampling`"] = getattr(keras.layers, f"UpSampling{rank}D")()
        named["`ConvTranspose`"] = getattr(keras.layers, f"Conv{rank}DTranspose")(3, 2)
    if rank == 2:
        named["`Resizing`"] = keras.layers.Resizing(10, 4)
    if rank == 1:
        attention = keras.layers.MultiHeadAttention(2, 2)
        named |= {
            "`LSTM`": keras.layers.LSTM(3),
            "`GRU`, both directions": keras.layers.Bidirectional(keras.layers.GRU(3)),
            "`MultiHeadAttention`": lambda x: attention(x, x),
            "`keras.ops.erfinv`": lambda x: keras.ops.erfinv(keras.ops.tanh(x)),
        }
    for row, layer in named.items():
        tensor = keras.Input((*SPACES[rank], CHANNELS))
        yield Case(FOREIGN, row, rank, Graph.from_keras(keras.Model(tensor, layer(tensor))))
    for row, layer in {
        "your own, of one stock layer (`UnitNormalization`)": own.UnitNorm(),
        "your own, with weights (`Mix` of the tests)": own.Mix(5),
        "your own, of three stock layers (`ScaledTanh` of the tests)": own.ScaledTanh(0.5),
    }.items():
        b = GraphBuilder((*SPACES[rank], CHANNELS))
        b.add(layer)
        yield Case(FOREIGN, row, rank, with_random_weights(b.build()))


def start_cases(rank: int) -> Iterator[Case]:
    for name, start in starts.KINDS.items():
        try:
            yield Case(STARTS, f"`{name}`", rank, with_random_weights(start(LARGER[rank], 3)))
        except GraphError:  # it needs positions
            continue


def morph_cases(rank: int) -> Iterator[Case]:
    """A child by each kind of morph, of a random parent."""
    for kind in morphs.KINDS:
        for seed in range(TRIED):
            rng = _rng(seed)
            graph = random_weights(random_graph(rng, shape=(*SPACES[rank], CHANNELS)), rng, np.float32)
            sites = list(morphs.sites(graph, kinds=[kind]))
            if sites:
                yield Case(MORPHS, f"`{kind.kind}`", rank, draw(sites, rng, 1)[0].apply(graph, rng))
                break


def cases(rank: int, own: ModuleType) -> Iterator[list[Case]]:
    """Groups of cases that read the same input."""
    yield list(layer_cases(rank))
    yield list(foreign_cases(rank, own))
    yield list(start_cases(rank))
    yield list(morph_cases(rank))
    if rank == 1:
        yield list(lookup_cases())


def side_by_side(graphs: Sequence[Graph]) -> tuple[Graph, list[slice]]:
    """One graph that computes what several do of the same input, and which outputs are whose."""
    b = GraphBuilder(graphs[0].input_shape)
    ends, parts, at = [], [], 0
    for graph in graphs:
        nodes = [0]
        for i, (layer, sources) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
            nodes.append(b.add(layer, *(nodes[k] for k in sources), weights=graph.layer_weights(i)))
        ends.append(nodes[-1] if len(graph.output_shape) == 1 else b.add(Flatten(), nodes[-1], weights={}))
        width = int(np.prod(graph.output_shape))
        parts.append(slice(at, at + width))
        at += width
    return b.build(ends[0] if len(ends) == 1 else b.add(Concat(), *ends, weights={})), parts


def task_cases() -> list[Task]:
    """What each estimator exports: its input and its target, as learned from examples."""
    rng = _rng(0)
    n = 12
    classes = Classes.learn(np.array(["ankle boot", "Stiefel, groß", "7"] * (n // 3)))
    sets = LabelSets((None, 1.0, None), "<i8")
    one, some = Numbers.learn(rng.normal(5, 3, n)), Numbers.learn(rng.normal(5, 3, (n, 2)))
    yes = YesNo.learn(np.array([0, 1] * (n // 2)))
    images = rng.integers(0, 256, (n, 12, 12, 3)).astype(np.uint8)
    signals = rng.normal(3, 2, (n, 30, 2)).astype(np.float32)
    unequal = np.empty(n, object)
    unequal[:] = [10.0 ** (i % 5) * signals[i, : 10 + i] for i in range(n)]
    volumes = rng.normal(size=(n, 8, 7, 6, 1)).astype(np.float32)
    words = np.array([f"the cat number {i} sat on mat {i % 3}" for i in range(n)], object)
    signs = np.array([f"鞋子{'和靴子' * (i + 1)}" for i in range(n)], object)
    table = rng.normal(2, 5, (n, 6)).astype(np.float32)

    def task(row: str, kind: Any, start: str, x: Any, target: Target) -> Task:
        input = kind.learn(kind.check(x))
        graph = starts.KINDS[start](input.shape, target.width, preprocessing=input.front())
        return Task(row, with_random_weights(graph), input, target)

    image = tasks.ImageClassifier.input
    pictures = task("", image, "cnn", images, classes)
    views = Views(pictures.input, ("shift", "flip"))
    return [
        task("`ImageClassifier`", image, "resnet", images, classes),
        Task("`ImageClassifier(views=True)`", pictures.graph, pictures.input, classes, views),
        task("`ImageClassifier`, any number of labels", image, "cnn", images, sets),
        task("`ImageRegressor`", tasks.ImageRegressor.input, "cnn", images, one),
        task("`ImageRegressor`, several numbers", tasks.ImageRegressor.input, "densenet", images, some),
        task("`ImageClassifier1D`", tasks.ImageClassifier1D.input, "fcn", signals, classes),
        task("`ImageClassifier1D`, unequal lengths", tasks.ImageClassifier1D.input, "fcn", unequal, classes),
        task("`ImageRegressor1D`", tasks.ImageRegressor1D.input, "resnet", signals, one),
        task("`ImageClassifier3D`", tasks.ImageClassifier3D.input, "cnn", volumes, classes),
        task("`ImageRegressor3D`", tasks.ImageRegressor3D.input, "resnet", volumes, some),
        task("`TextClassifier`", tasks.TextClassifier.input, "bag", words, classes),
        task("`TextClassifier`, no spaces", tasks.TextClassifier.input, "bag", signs, sets),
        task("`TextRegressor`", tasks.TextRegressor.input, "bag", words, one),
        task("`MlpModule`", ArrayInput, "mlp", table, classes),
        task("`CnnModule`, yes or no", image, "cnn", images, yes),
    ]


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)

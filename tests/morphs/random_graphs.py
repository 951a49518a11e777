"""Random graphs with random weights, of every kind of layer in every rank."""

from __future__ import annotations

import numpy as np

from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    ChannelScale,
    Concat,
    Conv,
    Dense,
    Dropout,
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

FUNCTIONS = (
    "relu",
    "relu",
    "relu",
    "relu6",
    "gelu",
    "silu",
    "leaky_relu",
    "elu",
    "tanh",
    "hard_silu",
    "sigmoid",
)


SMOOTH = ("softplus", "softplus", "gelu", "silu", "leaky_relu", "elu", "tanh", "sigmoid")


class Maker:
    """One random graph under construction; a smooth one has no ReLU that could be dead, and no maximum."""

    def __init__(
        self, rng: np.random.Generator, rank: int, smooth: bool, shape: tuple[int, ...] | None = None
    ) -> None:
        self.rng, self.rank = rng, rank if shape is None else len(shape) - 1
        self.functions = SMOOTH if smooth else FUNCTIONS
        self.pools = ("average",) if smooth else ("average", "max")
        if shape is None:
            most = {0: 1, 1: 9, 2: 6, 3: 5}[rank]
            space = tuple(int(s) for s in rng.integers(3, most + 1, rank)) if rank else ()
            shape = (*space, int(rng.integers(1, 4)) if rank else int(rng.integers(3, 8)))
        self.b = GraphBuilder(shape)
        self.shapes = {0: shape}

    def add(self, layer, *nodes):
        node = self.b.add(layer, *nodes)
        self.shapes[node] = layer.output_shape(*[self.shapes[n] for n in nodes])
        return node

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, values):
        return values[int(self.rng.integers(len(values)))]

    def window(self, node, sizes):
        return tuple(self.pick([k for k in sizes if k <= size] or [1]) for size in self.shapes[node][:-1])

    def function(self):
        return Activation(function=self.pick(self.functions))

    def conv(self, node, filters=None, **fixed):
        if self.rank == 0:
            return self.add(Dense(units=filters or self.width(), bias=self.chance(0.7)), node)
        strides = ()
        if not fixed and self.chance(0.2):
            strides = tuple(self.pick([1, 2]) for _ in range(self.rank))
        dilation = (2,) * self.rank if not strides and self.chance(0.1) else ()
        padding = "valid" if not fixed and self.chance(0.2) else "same"
        kernel = self.window(node, (1, 2, 3, 3))
        if padding == "valid" and dilation:
            dilation = ()
        return self.add(
            Conv(
                filters=filters or self.width(),
                kernel=kernel,
                strides=strides,
                padding=padding,
                dilation=dilation,
                bias=self.chance(0.6),
            ),
            node,
        )

    def width(self):
        return int(self.pick([2, 3, 4, 6, 8]))

    def norm_act(self, node):
        if self.chance(0.06):
            groups = self.pick([1, self.shapes[node][-1]])
            node = self.add(LayerNorm() if self.chance(0.5) else GroupNorm(groups=groups), node)
        elif self.chance(0.5):
            node = self.add(BatchNorm(scale=self.chance(0.8), center=self.chance(0.8)), node)
        return self.add(self.function(), node) if self.chance(0.7) else node

    def depthwise(self, node):
        if self.rank == 0:
            return self.add(ChannelScale(), node)
        channels = self.shapes[node][-1]
        times = self.pick([1, 1, 2])
        return self.add(
            Conv(
                filters=channels * times,
                kernel=self.window(node, (1, 3)),
                groups=channels,
                bias=self.chance(0.5),
            ),
            node,
        )

    def grouped(self, node):
        if self.rank == 0:
            return self.conv(node)
        channels = self.shapes[node][-1]
        groups = self.pick([g for g in range(2, channels) if channels % g == 0] or [1])
        return self.add(
            Conv(filters=groups * self.pick([1, 2]), kernel=self.window(node, (1, 3)), groups=groups), node
        )

    def residual(self, node):
        last = self.norm_act(self.conv(node, same=True))
        last = self.conv(last, self.shapes[node][-1], same=True)
        if self.chance(0.5):
            last = self.add(BatchNorm(), last)
        sum_ = self.add(Add() if self.chance(0.8) else Multiply(), node, last)
        return self.add(self.function(), sum_) if self.chance(0.6) else sum_

    def dense_block(self, node):
        other = self.norm_act(self.conv(node, same=True))
        both = self.add(Concat(), *((node, other) if self.chance(0.5) else (other, node)))
        if self.chance(0.3):
            third = self.norm_act(self.conv(both, self.shapes[both][-1], same=True))
            return self.add(Add(), both, third)
        return both

    def gate(self, node):
        channels = self.shapes[node][-1]
        h = self.add(GlobalPool(), node) if self.rank else node
        h = self.add(Dense(units=self.width()), h)
        h = self.add(self.function(), h)
        h = self.add(Activation(function="sigmoid"), self.add(Dense(units=channels), h))
        if self.rank:
            h = self.add(Reshape(shape=(1,) * self.rank + (channels,)), h)
        return self.add(Multiply(), node, h)

    def pool(self, node):
        if self.rank == 0:
            return self.add(Dropout(rate=0.3), node)
        if self.chance(0.2):
            return self.add(ZeroPadding(before=(1,) * self.rank, after=(0,) * self.rank), node)
        if self.chance(0.2):
            return self.add(Dropout(rate=0.2, spatial=self.chance(0.5)), node)
        return self.add(
            Pool(
                function=self.pick(self.pools),
                window=self.window(node, (2, 3)),
                strides=tuple(self.pick([1, 2]) for _ in range(self.rank)),
                padding=self.pick(["same", "valid"]),
            ),
            node,
        )

    def twice(self, node):
        return self.add(self.pick([Add(), Multiply(), Concat()]), node, node)

    def scale(self, node):
        return self.add(ChannelScale(), node)

    def head(self, node):
        if self.rank:
            if self.chance(0.5):
                node = self.add(GlobalPool(function=self.pick(self.pools)), node)
            else:
                node = self.add(Flatten(), node)
                if self.chance(0.3):
                    node = self.add(self.function(), node)
        if self.chance(0.4):
            layers = [Dense(units=self.width()), BatchNorm(), self.function(), Dropout(rate=0.5)]
            node = chain(self.b, node, layers if self.chance(0.5) else [layers[0], layers[2]])
        return self.b.add(Dense(units=3), node)


def random_graph(
    rng: np.random.Generator,
    rank: int | None = None,
    steps: int | None = None,
    smooth: bool = False,
    shape: tuple[int, ...] | None = None,
) -> Graph:
    """A random structure; `rank` spatial axes (0 to 3), or an input of the given shape."""
    rank = int(rng.choice([0, 1, 2, 2, 3])) if rank is None else rank
    maker = Maker(rng, rank, smooth, shape)
    node = 0
    if maker.chance(0.3):
        channels = maker.shapes[0][-1]
        node = maker.add(
            Normalize(mean=(0.5,) * channels, variance=(2.0,) * channels)
            if maker.chance(0.5)
            else Rescale(scale=0.5, offset=0.1),
            node,
        )
    node = maker.norm_act(maker.conv(node))
    moves = [
        maker.residual, maker.residual, maker.dense_block, maker.gate, maker.pool,
        maker.depthwise, maker.grouped, maker.scale, maker.twice, lambda n: maker.norm_act(maker.conv(n)),
    ]  # fmt: skip
    for _ in range(steps if steps is not None else int(rng.integers(1, 5))):
        node = maker.pick(moves)(node)
    return maker.b.build(maker.head(node))


def random_weights(graph: Graph, rng: np.random.Generator, dtype=np.float64) -> Graph:
    """The graph with weights such that values stay near one and statistics are like measured ones."""
    weights = {}
    for i in range(len(graph.layers)):
        for name, parameter in graph.parameters(i).items():
            shape = parameter.shape
            if name == "kernel":
                value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
            elif name == "moving_variance":
                value = rng.uniform(0.3, 2.0, shape)
            elif name in ("gamma", "gain"):
                value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1, 1, 1], shape)
            else:
                value = 0.3 * rng.standard_normal(shape)
            weights[i, name] = value.astype(dtype)
    return graph.with_weights(weights)


def batch(graph: Graph, rng: np.random.Generator, size: int = 3) -> np.ndarray:
    """Random examples, with zeros among them as real images have."""
    x = rng.standard_normal((size, *graph.input_shape))
    return np.where(rng.random(x.shape) < 0.2, 0.0, x)

"""Give a convolution a larger kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Conv, Graph, ZeroPadding
from kmorph.graph.layers.base import window_size
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit

LARGEST = 7


@dataclass(frozen=True)
class EnlargeKernel(Morph):
    """The old kernel of a convolution inside zeros.

    With padding "same" the old taps must meet the same positions as before: they stand
    ``(new pad − old pad) / dilation`` taps from the corner, where the pads in front depend on size and stride
    (from 1 to 3 at stride 2 on an even size: in the corner, not at the centre). With padding "valid" zeros
    are put around the input first.

    Parameters
    ----------
    layer : int
    kernel : tuple of int
        New size on each spatial axis; none smaller than the old one.

    References
    ----------
    Wei et al., "Network morphism", ICML 2016 (kernel size morphing).
    """

    kind = "enlarge_kernel"

    layer: int
    kernel: tuple[int, ...]

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[EnlargeKernel]:
        """Every trained convolution, to the next odd size where the new taps see more than padding."""
        for i, layer in enumerate(graph.layers):
            if not isinstance(layer, Conv) or not layer.trainable:
                continue
            space = graph.input_shapes(i)[0][:-1]
            kernel = tuple(_next_size(layer, axis, size) for axis, size in enumerate(space))
            if kernel != layer.kernel:
                yield cls(layer=i, kernel=kernel)

    def change(self, edit: Edit) -> None:
        conv = layer_at(edit.graph, self.layer)
        if not isinstance(conv, Conv):
            raise GraphError(f"layer {self.layer} ({conv.describe()}) is no convolution")
        if len(self.kernel) != len(conv.kernel):
            raise GraphError(f"its kernel has {len(conv.kernel)} axes, not {len(self.kernel)}")
        if self.kernel == conv.kernel or any(n < o for n, o in zip(self.kernel, conv.kernel, strict=True)):
            raise GraphError(f"its kernel is {conv.kernel} already")
        node, (source,) = self.layer + 1, edit.graph.inputs[self.layer]
        grown = conv.with_(kernel=self.kernel)
        if conv.padding == "same":
            offsets = tuple(self._offset(conv, axis, n) for axis, n in enumerate(edit.shape(source)[:-1]))
        else:
            more = [n - o for n, o in zip(self.kernel, conv.kernel, strict=True)]
            offsets = tuple(taps // 2 for taps in more)
            sides = [
                (offset * d, (taps - offset) * d)
                for offset, taps, d in zip(offsets, more, conv.dilation, strict=True)
            ]
            padding = ZeroPadding(before=tuple(a for a, _ in sides), after=tuple(b for _, b in sides))
            edit.rewire(node, edit.add(padding, source))
        weights = edit.weights(node)
        if edit.weighted:
            old = weights["kernel"]
            kernel = np.zeros((*self.kernel, *old.shape[-2:]), old.dtype)
            place = tuple(slice(at, at + size) for at, size in zip(offsets, conv.kernel, strict=True))
            kernel[place] = old
            weights = {**weights, "kernel": kernel}
        edit.replace(node, grown, weights)

    def _offset(self, conv: Conv, axis: int, size: int) -> int:
        offset = _same_offset(conv, axis, size, self.kernel[axis])
        if offset is None:
            raise GraphError(
                f'padding "same" would move the taps on axis {axis} by part of a step: sizes '
                f"{conv.kernel[axis]} and {self.kernel[axis]} do not go with dilation {conv.dilation[axis]}"
            )
        return offset

    def describe(self) -> str:
        return f"enlarge the kernel of layer {self.layer} to {'×'.join(map(str, self.kernel))}"


def _pad_before(conv: Conv, axis: int, size: int, window: int) -> int:
    """Zeros in front of an axis under padding "same", as TensorFlow counts them."""
    stride = conv.strides[axis]
    total = (-(-size // stride) - 1) * stride + conv.dilation[axis] * (window - 1) + 1 - size
    return max(total, 0) // 2


def _same_offset(conv: Conv, axis: int, size: int, grown: int) -> int | None:
    """Taps from the new kernel's corner to the old one's under padding "same", if a whole number."""
    old = conv.kernel[axis]
    moved = _pad_before(conv, axis, size, grown) - _pad_before(conv, axis, size, old)
    offset, rest = divmod(moved, conv.dilation[axis])
    return None if rest or not 0 <= offset <= grown - old else offset


def _next_size(conv: Conv, axis: int, size: int) -> int:
    """The next odd size (from a dilated even one, the next even), or the old one if a tap saw only zeros."""
    old, stride, dilation = conv.kernel[axis], conv.strides[axis], conv.dilation[axis]
    positions = window_size(size, old, stride, conv.padding, dilation)
    for grown in (old + 1 + old % 2, old + 2):
        if conv.padding == "same":
            fits = _same_offset(conv, axis, size, grown) is not None
            before = _pad_before(conv, axis, size, grown)
        else:
            fits, before = True, (grown - old) // 2 * dilation
        places = [[i * stride + t * dilation - before for i in range(positions)] for t in range(grown)]
        if fits and grown <= LARGEST and all(any(0 <= p < size for p in tap) for tap in places):
            return grown
    return old

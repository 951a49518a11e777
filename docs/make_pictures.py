"""Draw the README's picture from a real search: its tree, and the networks along the best lineage.

    python examples/fashion_mnist.py --images 5000 --time-limit 200 --path runs/picture
    python docs/make_pictures.py runs/picture

Needs matplotlib (`pip install '.[dev]'`). The picture in the README is of an earlier version, in which such a
search grew; now it needs time for 1,500 passes over the images, or no time limit but ``max_models``.
"""

from __future__ import annotations

import argparse
import difflib
import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import kmorph
from kmorph.graph import Graph
from kmorph.report import tree

HERE = Path(__file__).parent
BEST, OTHER, NEW, OLD = "#c2410c", "#98a2b3", "#fdba74", "#dbe7fb"
INK, PALE = "#1d2939", "#667085"
# Layers that say little about a network's shape are left out of the drawing.
HIDDEN = {
    "batch_norm",
    "activation",
    "dropout",
    "normalize",
    "rescale",
    "channel_scale",
    "zero_padding",
    "reshape",
}
Drawn = dict[int, tuple[Any, list[int]]]  # by node: its layer, and the drawn nodes that it reads
LANE = 0.85  # height of one lane of a network
ROWS = 4  # most networks of the lineage that are drawn


def draw_tree(axes: Axes, history: list[dict[str, Any]], best_id: int, begun: float) -> None:
    """Every model: when it was ready, its validation loss, its parent."""
    # The last training may have been on the validation images too; then its parent is the last one measured.
    best_id = next(row["model_id"] for row in lineage(history, best_id)[::-1] if row["loss"])
    place = {row["model_id"]: (row["created"] - begun, row["loss"]) for row in history if row["loss"]}
    line = {row["model_id"] for row in lineage(history, best_id)}
    for row in history:
        child, parent = row["model_id"], row["parent_id"]
        if parent in place and child in place:
            best = child in line and parent in line
            arrow = FancyArrowPatch(
                place[parent],
                place[child],
                arrowstyle="-|>",
                mutation_scale=9,
                shrinkA=9,
                shrinkB=9,
                connectionstyle="arc3,rad=-0.08",
                color=BEST if best else OTHER,
                linewidth=1.8 if best else 0.9,
                zorder=2 if best else 1,
            )
            axes.add_patch(arrow)
    for row in history:
        if row["model_id"] not in place:
            continue
        x, y = place[row["model_id"]]
        best = row["model_id"] in line
        colours = {"facecolor": "white", "edgecolor": BEST if best else OTHER}
        axes.scatter(x, y, s=190, linewidth=1.8 if best else 1.0, zorder=3, **colours)
        axes.text(x, y, row["model_id"], ha="center", va="center", fontsize=8, color=INK, zorder=4)
        if row["parent_id"] is None:
            name = row["change"].removeprefix("start: ")
            axes.annotate(
                name, (x, y), (9, 5), textcoords="offset points", fontsize=8.5, color=PALE, va="bottom"
            )
    accuracy = next(row["metric_value"] for row in history if row["model_id"] == best_id)
    axes.annotate(
        f"accuracy {accuracy:.3f}",
        place[best_id],
        (-10, -15),
        textcoords="offset points",
        fontsize=8.5,
        color=BEST,
        ha="right",
    )
    axes.set_yscale("log")
    low, high = (pick(y for _, y in place.values()) for pick in (min, max))
    axes.set_ylim(low / 1.35, high * 1.3)
    ticks = [digit * 10.0**power for power in range(-5, 2) for digit in (1, 2, 3, 5, 7)]
    ticks = [tick for tick in ticks if low / 1.35 < tick < high * 1.3]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_xlabel("seconds of search", color=PALE)
    axes.set_ylabel("validation loss", color=PALE)
    axes.tick_params(colors=PALE, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(OTHER)


def lineage(history: list[dict[str, Any]], model_id: int) -> list[dict[str, Any]]:
    """The records from the start to a model."""
    by_id = {row["model_id"]: row for row in history}
    return [by_id[ancestor] for ancestor in tree.lineage(by_id, model_id)[::-1]]


def condensed(graph: Graph) -> Drawn:
    """Nodes worth drawing: their layer, and the drawn nodes that it reads."""
    stands_for = {0: 0}
    shown = {}
    for layer_id, layer in enumerate(graph.layers):
        sources = [stands_for[node] for node in graph.inputs[layer_id]]
        if layer.kind in HIDDEN:
            stands_for[layer_id + 1] = sources[0]
        else:
            stands_for[layer_id + 1] = layer_id + 1
            shown[layer_id + 1] = (layer, sources)
    return shown


def trunk(shown: Drawn) -> list[int]:
    """The longest path from the input to the output."""
    longest: dict[int, list[int]] = {0: [0]}
    for node, (_, sources) in shown.items():
        longest[node] = max((longest[source] for source in sources), key=len) + [node]
    return longest[max(shown)]


def label(layer: Any) -> str:
    if layer.kind == "conv":
        stride = "" if max(layer.strides) == 1 else f" /{max(layer.strides)}"
        return f"{'×'.join(map(str, layer.kernel))}{stride}\n{layer.filters}"
    if layer.kind == "dense":
        return f"dense\n{layer.units}"
    words = {"add": "+", "multiply": "·", "concat": "++", "global_pool": "mean", "pool": "pool"}
    return words.get(layer.kind, layer.kind)


def layout(shown: Drawn) -> dict[int, tuple[float, int]]:
    """Position and lane of each node: the longest path in lane 0, paths beside it above, spread evenly."""
    place = {node: (float(position), 0) for position, node in enumerate(trunk(shown))}
    readers = {node: [n for n, (_, sources) in shown.items() if node in sources] for node in (0, *shown)}
    taken: list[tuple[float, float, int]] = []
    for node in shown:
        if node in place:
            continue
        path = [node]
        while readers[path[-1]] and readers[path[-1]][0] not in place:
            path.append(readers[path[-1]][0])
        begin = place[shown[node][1][0]][0]
        end = max(place[readers[path[-1]][0]][0], begin + 1)
        lane = 1
        while any(lane == other and begin < last and first < end for first, last, other in taken):
            lane += 1
        taken.append((begin, end, lane))
        for number, member in enumerate(path):
            place[member] = (begin + (end - begin) * (number + 1) / (len(path) + 1), lane)
    return place


def draw_network(axes: Shifted, shown: Drawn, fresh: set[int], scale: float) -> None:
    """One network as a row of boxes; those in `fresh` stand out."""
    place = {node: (x * scale, LANE * lane) for node, (x, lane) in layout(shown).items()}
    for node, (_, sources) in shown.items():
        for source in sources:
            (x0, y0), (x1, y1) = place[source], place[node]
            style = "arc3,rad=0"
            if y0 < y1:
                style = "angle,angleA=90,angleB=0,rad=5"
            elif y0 > y1:
                style = "angle,angleA=0,angleB=90,rad=5"
            elif y0 == 0 and x1 - x0 > 1.5 * scale:
                style = f"arc3,rad={min(0.32, 1.6 / (x1 - x0))}"
            colour = BEST if node in fresh or source in fresh else OTHER
            options = {"arrowstyle": "-", "color": colour, "linewidth": 1.2, "zorder": 1}
            axes.add_patch(FancyArrowPatch((x0, y0), (x1, y1), connectionstyle=style, **options))
    for node, (x, y) in place.items():
        text = "input" if node == 0 else label(shown[node][0])
        width, height = (0.42, 0.34) if text in ("+", "·", "++") else (0.86, 0.6)
        box = FancyBboxPatch(
            (x - width * scale / 2, y - height / 2),
            width * scale,
            height,
            boxstyle="round,pad=0.0,rounding_size=0.09",
            facecolor="white" if node == 0 else NEW if node in fresh else OLD,
            edgecolor=BEST if node in fresh else OTHER,
            linewidth=0.8,
            zorder=2,
        )
        axes.add_patch(box)
        axes.text(
            x, y - 0.02, text, ha="center", va="center", fontsize=7, color=INK, zorder=3, linespacing=0.95
        )


def new_nodes(child: Drawn, parent: Drawn) -> set[int]:
    """Nodes of the child that have no counterpart in the parent, or another size there."""
    nodes = list(child)
    matcher = difflib.SequenceMatcher(
        None,
        [layer.describe() for layer, _ in parent.values()],
        [layer.describe() for layer, _ in child.values()],
        autojunk=False,
    )
    return {
        nodes[i]
        for tag, _, _, begin, end in matcher.get_opcodes()
        if tag in ("insert", "replace")
        for i in range(begin, end)
    }


def draw(path: Path, target: Path, data: str) -> None:
    searcher = kmorph.load_searcher(path)
    history, best_id = searcher.history, searcher.get_best_model_id()
    begun = min(row["created"] - row["seconds"] for row in history)
    line = lineage(history, best_id)
    # A model that was only trained on looks like its parent: only changes of the architecture are rows.
    line = [row for row in line if row["morphs"] or row["parent_id"] is None][-ROWS:]
    graphs = [condensed(searcher.load_model_by_id(row["model_id"])) for row in line]
    longest = max(len(trunk(graph)) for graph in graphs)
    heights = [LANE * max(lane for _, lane in layout(graph).values()) + 1.15 for graph in graphs]

    plt.rcParams["font.family"] = ["DejaVu Sans"]
    figure = plt.figure(figsize=(11, 3.0 + 0.7 * sum(heights) + 0.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[3.0, 0.7 * sum(heights) + 0.4])
    title = {"loc": "left", "fontsize": 11, "color": INK, "fontweight": "bold"}
    axes = top.subplots()
    axes.set_title(f"A search on {data}: every model grows from one that is already trained", **title)
    draw_tree(axes, history, best_id, begun)

    axes = bottom.subplots()
    axes.set_title("The best model's lineage: what is new changes nothing at first", **title)
    y = 0.0
    for number, (row, graph) in enumerate(zip(line, graphs, strict=True)):
        y -= heights[number]
        fresh = new_nodes(graph, graphs[number - 1]) if number else set()
        draw_network(Shifted(axes, 4.0, y), graph, fresh, 13.0 / longest)
        words = textwrap.fill(row["change"], 36, max_lines=3, placeholder=" …")
        facts = f"{row['n_parameters']:,} parameters, loss {row['loss']:.3f}"
        axes.text(
            -0.1,
            y + 0.3,
            row["model_id"],
            fontsize=10,
            color=BEST,
            fontweight="bold",
            va="center",
            ha="right",
        )
        axes.text(0.1, y + 0.3, words, fontsize=8, color=INK, va="center", linespacing=1.15)
        axes.text(0.1, y - 0.4, facts, fontsize=7.5, color=PALE, va="center")
    axes.set_xlim(-0.4, 4.0 + 13.0)
    axes.set_ylim(y - 0.75, -0.6)
    axes.set_axis_off()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=160, facecolor="white")
    print(target)


class Shifted:
    """Axes whose drawing begins at another place."""

    def __init__(self, axes: Axes, x: float, y: float) -> None:
        self.axes = axes
        self.move = matplotlib.transforms.Affine2D().translate(x, y) + axes.transData

    def add_patch(self, patch: Any) -> None:
        patch.set_transform(self.move)
        self.axes.add_patch(patch)

    def text(self, *arguments: Any, **options: Any) -> None:
        self.axes.text(*arguments, transform=self.move, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished search")
    parser.add_argument("--target", type=Path, default=HERE / "images" / "search.png")
    parser.add_argument("--data", default="5,000 images of Fashion-MNIST", help="what was searched on")
    given = parser.parse_args()
    draw(given.run, given.target, given.data)

"""Time against accuracy: points with standard errors, and how far the peers' validation accuracy was when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from _deadline import Found

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# Okabe and Ito's colours, which the colour-blind can tell apart too; the shapes say the same once more.
LOOKS = {
    "kmorph": ("kmorph", "#D55E00", "o"),
    "hand-written": ("hand-written", "#1d2939", "D"),
    "autokeras": ("AutoKeras", "#0072B2", "s"),
    "keras-tuner": ("KerasTuner", "#009E73", "^"),
}
PALE, FAINT = "#667085", "#d0d5dd"
LABEL_GAP = 0.052  # of the height of the axes, at least, between two labels


def plot(found: Mapping[tuple[float, str], Found], targets: Mapping[int, float], picture: Path) -> None:
    """Draw what was found and write it as SVG."""
    plt.rcParams.update({"font.size": 9.5, "svg.hashsalt": "kmorph", "font.family": "DejaVu Sans"})
    figure, axes = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
    limits = sorted({limit for limit, _ in found})
    draw_targets(axes, {limit: targets[limit] for limit in limits if limit in targets})
    labels = []
    for arm, (name, colour, marker) in LOOKS.items():
        curve = draw_validation(axes, found, arm, colour)
        points = {
            limit: found[limit, arm]
            for limit in limits
            if (limit, arm) in found and len(found[limit, arm].accuracies)
        }
        if points:
            draw_points(axes, points, colour, marker, zorder=5 if arm == "kmorph" else 4)
            labels.append((max(points), points[max(points)].mean, name, colour, "bold"))
        if curve:
            labels.append((*curve, f"{name}, validation", colour, "normal"))
    low, high = height(found, targets, limits)
    axes.set_ylim(low, high)
    axes.set_xscale("log")
    axes.set_xlim(min(limits) / 2.2, max(limits) * 1.12)
    axes.set_xticks(limits, [in_words(limit) for limit in limits])
    axes.minorticks_off()
    write_labels(axes, labels, low, high)
    axes.set_title("Accuracy on Fashion-MNIST, from data to model", loc="left", fontsize=11.5, pad=26)
    said = "test accuracy, mean and standard error"
    if any(run.get("validation") for some in found.values() for run in some.runs):
        said = f"thick: {said}; thin: best validation accuracy so far"
    axes.text(0, 1.03, said, transform=axes.transAxes, color=PALE, fontsize=8.5)
    axes.set_xlabel("time, imports and compiling included", color=PALE)
    axes.grid(axis="y", color=FAINT, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=PALE, length=0)
    axes.tick_params(axis="x", length=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(PALE)
    figure.savefig(picture, metadata={"Date": None})
    plt.close(figure)


def draw_targets(axes: Axes, targets: Mapping[float, float]) -> None:
    """Short dashes at what is to be reached; the first says what they are."""
    for limit, target in targets.items():
        axes.plot([limit / 1.13, limit * 1.13], [target] * 2, color=PALE, linewidth=1.2, dashes=(2.2, 1.4))
        if limit == min(targets):
            place = {"xytext": (0, -4), "textcoords": "offset points", "ha": "center", "va": "top"}
            axes.annotate("target", (limit, target), color=PALE, fontsize=8.5, **place)


def draw_points(axes: Axes, points: Mapping[float, Found], colour: str, marker: str, zorder: int) -> None:
    """An arm's test accuracy at each limit."""
    axes.errorbar(
        list(points),
        [some.mean for some in points.values()],
        [some.error or 0.0 for some in points.values()],
        color=colour,
        marker=marker,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.9,
        linewidth=1.8,
        elinewidth=1.3,
        capsize=3,
        zorder=zorder,
    )


def draw_validation(
    axes: Axes, found: Mapping[tuple[float, str], Found], arm: str, colour: str
) -> tuple[float, float] | None:
    """The curves of an arm's longest runs; where the highest of them ends, if there are any."""
    runs = [
        run for (_, name), some in found.items() for run in some.runs if name == arm and run.get("validation")
    ]
    ends = []
    for run in runs:
        if run["limit"] == max(run["limit"] for run in runs):
            seconds, accuracy = np.transpose([*run["validation"], (run["seconds"], run["validation"][-1][1])])
            axes.step(seconds, accuracy, where="post", color=colour, linewidth=0.9, alpha=0.5, zorder=3)
            ends.append((float(seconds[-1]), float(accuracy[-1])))
    return max(ends, key=lambda end: end[1]) if ends else None


def height(
    found: Mapping[tuple[float, str], Found], targets: Mapping[int, float], limits: list[float]
) -> tuple[float, float]:
    """The accuracies that are shown: all points and targets; curves may begin below."""
    shown = [value for some in found.values() for value in some.accuracies]
    shown += [targets[limit] for limit in limits if limit in targets]
    ends = [run["validation"][-1][1] for some in found.values() for run in some.runs if run.get("validation")]
    return min(shown) - 0.006, max(shown + ends) + 0.006


def write_labels(axes: Axes, labels: list[tuple], low: float, high: float) -> None:
    """Names beside the ends of lines, moved apart where they would touch."""
    labels = sorted(labels, key=lambda label: label[1])
    places = apart([(y - low) / (high - low) for _, y, *_ in labels])
    for place, (x, y, name, colour, weight) in zip(places, labels, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.015, place),
            textcoords=axes.transAxes,
            color=colour,
            fontweight=weight,
            fontsize=9.5 if weight == "bold" else 8.5,
            va="center",
            annotation_clip=False,
        )


def apart(places: list[float]) -> list[float]:
    """Ascending places, each pair that is too near pushed apart by as much on both sides."""
    places = list(places)
    for _ in range(200):
        for i in range(len(places) - 1):
            push = (LABEL_GAP - (places[i + 1] - places[i])) / 2
            if push > 0:
                places[i] -= push
                places[i + 1] += push
    return places


def in_words(seconds: float) -> str:
    """As on a clock."""
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"

"""kmorph from a shell. Nothing heavy is loaded before a command needs it."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kmorph._version import __version__
from kmorph.errors import GraphError, KmorphError
from kmorph.files import user_path

if TYPE_CHECKING:
    import numpy as np

    from kmorph.tasks import ImageClassifier

HELD_BACK = 0.25  # share of the digits that the search never sees
# An eighth of the default width: too small for a minute, so that they grow.
SMALL_STARTS = (("cnn", {"width": 4}), ("resnet", {"width": 4}))

app = typer.Typer(
    name="kmorph",
    help="Grow neural networks: architecture search by network morphism and Bayesian optimisation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command that the shell asks for; kmorph's own errors are one line on stderr and status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a "×" that the terminal does not know ends nothing
    try:
        app()
    except KmorphError as error:
        print(f"kmorph: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kmorph {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None: ...


@app.command()
def demo(
    time_limit: Annotated[float, typer.Option(min=1.0, help="Seconds that the search may take.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything that is random.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the search and its results.")] = Path("kmorph-demo"),
) -> None:
    """Grow a network for scikit-learn's handwritten digits.

    Two small networks compete; the better one grows to the size that the time affords, and is trained to the
    end. A quarter of the images is held back from the search; on them the best model is tested once.
    """
    begun = time.perf_counter()
    from kmorph.report.progress import is_live
    from kmorph.tasks import ImageClassifier

    out = user_path(out)
    (x, y), (x_test, y_test) = _digits(seed)
    print(f"{len(x):,} images of digits to search on, {len(x_test):,} held back for the test", flush=True)
    classifier = ImageClassifier(path=out, seed=seed, verbose=True, starts=SMALL_STARTS)
    try:
        classifier.fit(x, y, time_limit=time_limit)
    except KeyboardInterrupt:
        print(f"Interrupted. The models found so far are in {_folder(classifier, out).resolve()}", flush=True)
        raise
    if not is_live(sys.stdout):  # there the live display has left the table
        _print_table(classifier)
    _print_lineage(classifier)
    accuracy = classifier.evaluate(x_test, y_test)
    print(f"Test accuracy: {accuracy:.4f} on {len(x_test):,} images that the search never saw\n")
    _save(classifier, _folder(classifier, out))
    print(f"\nTotal time: {time.perf_counter() - begun:.0f} s")


def _digits(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The 1,797 digits of 8×8 pixels inside scikit-learn: those for the search, and those held back."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype("uint8")
    x, x_test, y, y_test = train_test_split(x, y, test_size=HELD_BACK, stratify=y, random_state=seed)
    return (x, y), (x_test, y_test)


def _print_table(classifier: ImageClassifier) -> None:
    from rich.console import Console

    from kmorph.report.table import models_table

    rows = sorted(classifier.history + classifier.failures, key=lambda row: row["created"])
    table = models_table(rows, classifier.get_best_model_id())
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    Console(width=None if is_terminal else 100).print(table)


def _print_lineage(classifier: ImageClassifier) -> None:
    from kmorph.report.tree import lineage

    rows = {row["model_id"]: row for row in classifier.history}
    line = lineage(rows, classifier.get_best_model_id())[::-1]
    if len(line) > 1:
        sizes = [f"{rows[model_id]['n_parameters']:,}" for model_id in line]
        print(f"The best model grew from {sizes[0]} to {sizes[-1]} parameters: {' → '.join(map(str, line))}")


def _folder(classifier: ImageClassifier, out: Path) -> Path:
    """Folder of the search: not `out` if another search was at work there."""
    try:
        found = classifier.path_
    except KmorphError:  # interrupted before it began
        return out
    return out if found == out.resolve() else found


def _save(classifier: ImageClassifier, out: Path) -> None:
    """Export the best model into the search's folder, draw it, and print where all is and what is next."""
    from kmorph.report.tree import draw_tree

    model = classifier.export_keras_model(out / "best.keras")
    lines = {"search": out.resolve(), "best model": model.resolve()}
    try:
        lines["its drawing"] = classifier.best_graph.draw(out / "best.svg").resolve()
        tree = draw_tree(classifier.history, classifier.get_best_model_id(), out / "tree.svg")
        lines["its tree"] = tree.resolve()
    except GraphError as error:  # no Graphviz: the error says how to get it
        print(f"No drawing: {error}")
    for name, file in lines.items():
        print(f"{name + ':':13}{file}")
    print(
        "\nWhat to do next:\n"
        f'  use the model, without kmorph:  keras.models.load_model("{out.as_posix()}/best.keras")\n'
        f'  look at every model tried:      kmorph.load_searcher("{out.as_posix()}").history\n'
        '  search on images of your own:   kmorph.ImageClassifier(path="mine").fit(x, y, time_limit=300)'
    )


if __name__ == "__main__":
    main()

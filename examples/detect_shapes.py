"""Train a detector on generated pictures, coloured shapes on photographs, and find shapes in new pictures.

No pretrained weights and no network are needed: the photographs are scikit-learn's. The detector is saved as
a preset of KerasHub's, loaded, and measured on pictures that it has not seen.

    python examples/detect_shapes.py --time-limit 1200 --path runs/shapes
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from kmorph.errors import KmorphError
from kmorph.pretrained import ObjectDetector

LABELS = ("circle", "square", "triangle")
SIZE = 128  # of pictures
LEAST_IOU, LEAST_RECALL = 0.6, 0.8
TOO_CLOSE = 0.1  # share of the smaller box that another may cover


def make_pictures(n: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray], list[list[str]]]:
    """Pictures with one to four shapes each, their boxes (x0, y0, x1, y1), and the shapes' names."""
    random = np.random.default_rng(seed)
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    made = [_make_picture(photographs[random.integers(len(photographs))], random) for _ in range(n)]
    pictures, boxes, labels = zip(*made, strict=True)
    return list(pictures), list(boxes), list(labels)


def _make_picture(photograph: Image.Image, random: np.random.Generator):
    side = int(random.integers(SIZE, 400))
    left, top = random.integers(photograph.width - side), random.integers(photograph.height - side)
    picture = photograph.crop((left, top, left + side, top + side)).resize((SIZE, SIZE))
    boxes, labels = [], []
    for _ in range(random.integers(1, 5)):
        width, height = random.integers(18, 48, 2)
        x0, y0 = random.integers(SIZE - width), random.integers(SIZE - height)
        box = np.array([x0, y0, x0 + width, y0 + height])
        if any(_covered(box, other) > TOO_CLOSE for other in boxes):
            continue
        label = LABELS[random.integers(len(LABELS))]
        _draw(picture, label, box, random)
        boxes.append(box)
        labels.append(label)
    return np.asarray(picture), np.array(boxes, float), labels


def _covered(one: np.ndarray, other: np.ndarray) -> float:
    common = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    return common / min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))


def _draw(picture: Image.Image, label: str, box: np.ndarray, random: np.random.Generator) -> None:
    # Drawn four times as large, and scaled down, so that edges are smooth.
    width, height = (box[2:] - box[:2]).tolist()
    mask = Image.new("L", (4 * width, 4 * height))
    pen, right, bottom = ImageDraw.Draw(mask), 4 * width - 1, 4 * height - 1
    if label == "circle":
        pen.ellipse((0, 0, right, bottom), fill=255)
    elif label == "square":
        pen.rectangle((0, 0, right, bottom), fill=255)
    else:
        pen.polygon(((right / 2, 0), (0, bottom), (right, bottom)), fill=255)
    colour = Image.new("RGB", (width, height), tuple(random.integers(0, 256, 3).tolist()))
    picture.paste(colour, tuple(box[:2].tolist()), mask.resize((width, height)))


def measure(found: list, boxes: list[np.ndarray], labels: list[list[str]]) -> tuple[float, float, float]:
    """Mean IoU of shapes found, recall, and precision; found is what has its label and an IoU of 0.5."""
    overlaps, n_true, n_found = [], 0, sum(map(len, found))
    for of_picture, its_boxes, its_labels in zip(found, boxes, labels, strict=True):
        left = list(of_picture)
        n_true += len(its_boxes)
        for box, label in zip(its_boxes, its_labels, strict=True):
            candidates = [
                (_iou(item["box"], box), i) for i, item in enumerate(left) if item["label"] == label
            ]
            best, index = max(candidates, default=(0.0, None))
            if best >= 0.5:
                overlaps.append(best)
                left.pop(index)
    mean = float(np.mean(overlaps)) if overlaps else 0.0
    return mean, len(overlaps) / n_true, len(overlaps) / max(1, n_found)


def _iou(one, other) -> float:
    one, other = np.asarray(one), np.asarray(other)
    common = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    return float(common / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common))


def main(time_limit: float, path: Path, n_pictures: int, seed: int) -> tuple[float, float, float]:
    """Train, save, load and measure; mean IoU, recall and mean average precision."""
    images, boxes, labels = make_pictures(n_pictures, seed)
    began = time.monotonic()
    detector = ObjectDetector(preset=None, seed=seed).fit(images, boxes, labels, time_limit=time_limit)
    print(f"trained {time.monotonic() - began:.0f} s; saved as {detector.save(path / 'detector')}")

    test, true_boxes, true_labels = make_pictures(200, seed + 1)
    loaded = ObjectDetector(preset=path / "detector")
    found = loaded.predict(test)
    assert found == detector.predict(test), "the preset must find what the detector found"
    iou, recall, precision = measure(found, true_boxes, true_labels)
    print(f"on 200 new pictures: mean IoU {iou:.3f}, recall {recall:.3f}, precision {precision:.3f}")
    mean_precision = loaded.evaluate(test, true_boxes, true_labels)
    print(f"mean average precision (COCO): {mean_precision:.3f}")
    for label, value in loaded.average_precision(test, true_boxes, true_labels, overlap=0.5).items():
        print(f"AP50 of {label}: {value:.3f}")
    loaded.predict(test[0], path / "found.png")
    return iou, recall, mean_precision


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time-limit", type=float, default=900, help="seconds of training (default: 900)")
    parser.add_argument("--path", type=Path, default=Path("runs/shapes"), help="folder for the preset")
    parser.add_argument("--pictures", type=int, default=2000, help="pictures to train on (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        iou, recall, _ = main(args.time_limit, args.path, args.pictures, args.seed)
    except KmorphError as error:
        sys.exit(f"detect_shapes.py: {error}")
    if iou < LEAST_IOU or recall < LEAST_RECALL:
        sys.exit(f"expected a mean IoU of {LEAST_IOU} and a recall of {LEAST_RECALL} at least")

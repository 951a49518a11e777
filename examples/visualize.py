"""Draw every model of a search into a folder, by the search's path alone.

python examples/visualize.py SEARCH [FOLDER]
"""

import sys
from pathlib import Path

import kmorph

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    search = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else search / "drawings"
    folder.mkdir(parents=True, exist_ok=True)
    searcher = kmorph.load_searcher(search)
    for item in searcher.history:
        graph = searcher.load_model_by_id(item["model_id"])
        print(graph.draw(folder / f"{item['model_id']}.svg"), item["change"])

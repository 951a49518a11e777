"""Virtual environments of the peers, each with the versions that were tried, outside this repository.

    python benchmarks/peers/environments.py [autokeras keras-tuner] [--folder ~/.cache/kmorph-benchmarks]

The benchmark makes those that it needs by itself; making them is not charged to anyone.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import venv
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = Path.home() / ".cache" / "kmorph-benchmarks"
PEERS = ("autokeras", "keras-tuner")


def script_of(peer: str) -> Path:
    """The script that runs a peer's search."""
    return HERE / f"search_{peer.replace('-', '_')}.py"


def python_of(peer: str, folder: Path = FOLDER) -> Path:
    """The interpreter of a peer's environment, which is made or made anew if its requirements ask for it."""
    requirements = HERE / f"{peer.replace('-', '_')}.txt"
    home = folder / peer
    python, installed = home / "bin" / "python", home / "installed.txt"
    if installed.exists() and installed.read_text() == requirements.read_text():
        return python
    print(f"making an environment for {peer} in {home}", flush=True)
    if home.exists():
        if not (home / "pyvenv.cfg").exists():
            raise SystemExit(f"{home} exists and is no virtual environment. Name another folder.")
        shutil.rmtree(home)
    venv.create(home, with_pip=True, symlinks=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
    shutil.copyfile(requirements, installed)  # last: an installation that was broken off is done again
    return python


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peers", nargs="*", default=list(PEERS), metavar="peer", help=" or ".join(PEERS))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"no peer is called {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    for peer in arguments.peers:
        print(python_of(peer, arguments.folder))


if __name__ == "__main__":
    main()

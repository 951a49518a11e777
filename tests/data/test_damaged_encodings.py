"""Files of encodings that are damaged, or from elsewhere, are computed anew and never trusted."""

import hashlib
import logging
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from encoding_samples import EXAMPLES, NAME, WIDTH, Encoder, checked, files, fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from kmorph.data import encodings as module
from kmorph.data.encodings import DIGEST, FOLDER, Encodings


def _changed(change):
    """Change the arrays of a file, and leave all else as it is: as someone does who knows the format."""

    def damage(file):
        arrays = {name: value.copy() for name, value in load_file(file).items()}
        arrays = change(**arrays)
        about = {"encoder": file.parent.name}
        if {*arrays} == {"digests", "rows"}:
            about["content"] = module._content(arrays["digests"], arrays["rows"])
        save_file(arrays, file, about)

    return damage


def _with_nan(digests, rows):
    rows[3, 2] = np.nan
    return {"digests": digests, "rows": rows}


def _doubled(digests, rows):
    digests[1] = digests[0]
    return {"digests": digests, "rows": rows}


def _of_another_encoder(file):
    other = file.parent.with_name("kind-4567")
    other.mkdir()
    renamed = file.rename(other / file.name)
    save_file(load_file(renamed), renamed, {"encoder": other.name, "content": "0"})
    shutil.copy(renamed, file)
    renamed.unlink()


def _edited(file, at=-5):
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def _folder(file):
    file.unlink()
    file.mkdir()


DAMAGES = {
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("encodings"),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "one bit of a vector": _edited,
    "one bit of a digest": lambda file: _edited(file, at=-4 * WIDTH * len(EXAMPLES) - 5),
    "a folder": _folder,
    "NaN": _changed(_with_nan),
    "float64": _changed(lambda digests, rows: {"digests": digests, "rows": rows.astype(np.float64)}),
    "float16": _changed(lambda digests, rows: {"digests": digests, "rows": rows.astype(np.float16)}),
    "whole numbers": _changed(lambda digests, rows: {"digests": digests, "rows": rows.astype(np.int32)}),
    "no numbers": _changed(lambda digests, rows: {"digests": digests, "rows": rows[:, :0]}),
    "one number a row": _changed(lambda digests, rows: {"digests": digests, "rows": rows[:, 0].copy()}),
    "fewer rows": _changed(lambda digests, rows: {"digests": digests, "rows": rows[:-1].copy()}),
    "digests of other length": _changed(
        lambda digests, rows: {"digests": digests[:, :8].copy(), "rows": rows}
    ),
    "a digest twice": _changed(_doubled),
    "no digests": _changed(lambda digests, rows: {"rows": rows}),
    "of another encoder": _of_another_encoder,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_computed_anew(tmp_path, damage, caplog):
    checked(Encodings(tmp_path), EXAMPLES)
    (file,) = files(tmp_path)
    DAMAGES[damage](file)
    with caplog.at_level(logging.WARNING, "kmorph.search"):
        assert checked(Encodings(tmp_path), [*EXAMPLES, b"one more"]) == [*EXAMPLES, b"one more"]
    assert f"{file} are not used" in caplog.text
    assert checked(Encodings(tmp_path), EXAMPLES) == []


@pytest.mark.parametrize("width", [None, WIDTH])
@pytest.mark.parametrize("of", [slice(0, 5), slice(0, 20)], ids=["some", "all"])
def test_files_of_another_width_are_computed_anew(tmp_path, width, of):
    """They come from an encoder of the same name, and nothing is wrong with them but that."""
    place = tmp_path / FOLDER / NAME
    digests = [hashlib.blake2b(example, digest_size=DIGEST).digest() for example in EXAMPLES]
    module._write(place, {digest: np.ones(WIDTH + 1, np.float32) for digest in digests[of]})
    new = [*EXAMPLES, b"one more"]  # without it, nothing says how wide the encoder is
    encoder = Encoder(new)
    np.testing.assert_array_equal(Encodings(tmp_path).rows(NAME, new, encoder, width=width), fresh(new))
    assert {*encoder.encoded} == {*new}


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_no_change_of_a_file_gives_other_rows(seed, changes):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        checked(Encodings(Path(name)), EXAMPLES)
        (file,) = files(Path(name))
        content = bytearray(file.read_bytes())
        for _ in range(changes):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content)
        checked(Encodings(Path(name)), EXAMPLES)

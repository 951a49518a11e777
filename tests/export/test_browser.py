"""An ONNX file in a browser: digits by onnxruntime-web, in Chromium without a window."""

import functools
import http.server
import json
import queue
import shutil
import subprocess
import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PAGE = """<!doctype html>
<script type="module">
  import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
  let answer;
  try {
    ort.env.wasm.numThreads = 1;
    const images = await (await fetch("images.json")).json();
    const session = await ort.InferenceSession.create("digits.onnx");
    const given = new ort.Tensor("float32", Float32Array.from(images.flat()), [images.length, 8, 8, 1]);
    const { scores, labels } = await session.run({ images: given });
    answer = { scores: Array.from(scores.data), labels: Array.from(labels.data) };
  } catch (error) {
    answer = { error: String(error) };
  }
  await fetch("answer", { method: "POST", body: JSON.stringify(answer) });
</script>
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and takes the page's answer."""

    extensions_map = {".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}

    def __init__(self, *args, answers, **kwargs):
        self.answers = answers
        super().__init__(*args, **kwargs)

    def do_POST(self):
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path):
    """A folder with onnxruntime-web, its address, and the answers of its pages."""
    pytest.importorskip("onnxruntime")
    if CHROMIUM is None or shutil.which("npm") is None:
        pytest.skip("needs npm and Chromium")
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "onnxruntime-web@1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        pytest.skip(f"npm cannot install onnxruntime-web: {installed.stderr[-200:]}")
    answers = queue.Queue()
    handler = functools.partial(Handler, directory=str(tmp_path), answers=answers)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}/page.html", answers
        server.shutdown()


@pytest.mark.slow
def test_digits(site):
    folder, address, answers = site
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    clf = ImageClassifier(
        path=folder / "run", seed=0, verbose=False, max_models=1, starts=[("cnn", {"width": 8})],
        searcher_args={"trainer_args": {"max_iter_num": 5}},
    ).fit(x[:1500], y[:1500])  # fmt: skip
    clf.export(folder / "digits.onnx", "onnx")
    (folder / "images.json").write_text(json.dumps(x[1500:].reshape(-1, 64).tolist()))
    (folder / "page.html").write_text(PAGE)
    browser = subprocess.Popen(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder / 'profile'}",
            address,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = answers.get(timeout=120)
    finally:
        browser.kill()
        browser.wait()
    assert "error" not in answer, answer
    scores = np.reshape(answer["scores"], (-1, 10))
    np.testing.assert_allclose(scores, clf.predict_proba(x[1500:]), atol=1e-4)
    assert answer["labels"] == [str(label) for label in clf.predict(x[1500:])]

"""The FastAPI example, asked by FastAPI's own client."""

import importlib
import io

import numpy as np
import pytest
from graph_samples import with_random_weights

from kmorph.export import export
from kmorph.graph import Conv, Dense, GlobalPool, GraphBuilder, Normalize

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
Image = pytest.importorskip("PIL.Image")

NAMES = ("ankle boot", "Stiefel, groß", "鞋")


@pytest.fixture(scope="module")
def graph():
    b = GraphBuilder((8, 8, 1))
    b.add(Normalize((100.0,), (900.0,)))
    b.add(Conv(filters=4, kernel=(3, 3)))
    b.add(GlobalPool())
    return with_random_weights(b.build(b.add(Dense(units=3))))


@pytest.fixture(scope="module")
def client(graph, tmp_path_factory):
    from fastapi.testclient import TestClient

    folder = export(graph, NAMES, tmp_path_factory.mktemp("serving") / "clothes", "saved_model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL", str(folder))
        app = importlib.import_module("serve_fastapi").app
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("headers", [{"Content-Type": "image/png"}, {}])
def test_a_picture_gets_its_label(client, graph, headers):
    image = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    response = client.post("/predict", content=file.getvalue(), headers=headers)
    assert response.status_code == 200, response.text
    logits = np.asarray(graph.to_keras()(image[None, ..., None].astype(np.float32)))[0]
    assert response.json()["label"] == NAMES[logits.argmax()]
    scores = np.exp(logits - logits.max())
    np.testing.assert_allclose(response.json()["scores"], scores / scores.sum(), atol=1e-5)


def test_what_is_no_picture_is_refused(client):
    response = client.post("/predict", content=b"no picture", headers={"Content-Type": "image/png"})
    assert (response.status_code, response.json()["detail"]) == (415, "this is no picture that can be read")

"""Serve an exported image classifier over HTTP; kmorph is not needed here.

pip install fastapi uvicorn tensorflow
MODEL=serving/clothes/1 uvicorn serve_fastapi:app --app-dir examples
curl --data-binary @boot.png -H "Content-Type: image/png" http://localhost:8000/predict
"""

import os
from typing import Annotated

import tensorflow as tf
from fastapi import Body, FastAPI, HTTPException

model = tf.saved_model.load(os.environ["MODEL"])
app = FastAPI()


@app.post("/predict")
def predict(picture: Annotated[bytes, Body(media_type="image/*")]) -> dict:
    """The label of a picture (PNG, JPEG, BMP, GIF or WebP), and the probability of each class."""
    try:
        found = model.signatures["bytes"](bytes=tf.constant([picture]))
    except tf.errors.InvalidArgumentError as error:
        raise HTTPException(415, "this is no picture that can be read") from error
    return {"label": found["labels"][0].numpy().decode(), "scores": found["scores"][0].numpy().tolist()}

"""
A web service that labels images and learns new classes
=======================================================

::

    python -m pip install fastapi uvicorn python-multipart
    KNOWN=known uvicorn service:app --app-dir examples    # a folder: known/class/image.png
    curl -F image=@query.png http://127.0.0.1:8000/label
    curl -F image=@new.png -F label=arrow http://127.0.0.1:8000/exemplars

``docs/serving.md`` explains it.
"""

import copy
import os
import warnings
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, File, Form, Request
from fastapi.responses import JSONResponse

from sksiamese import load_pretrained
from sksiamese.datasets import load_image_folder, load_images
from sksiamese.exceptions import BlankImageWarning

warnings.simplefilter("error", BlankImageWarning)  # no label for a blank image
SIZE = (105, 105)
known = load_image_folder(os.environ["KNOWN"], resize=SIZE)
clf = load_pretrained().set_support(known.images, known.target)
app = FastAPI()


@app.exception_handler(ValueError)
@app.exception_handler(OSError)
@app.exception_handler(BlankImageWarning)
def refuse(request: Request, error: Exception) -> JSONResponse:
    """Answer with what the package says of an image that cannot be used."""
    return JSONResponse({"detail": str(error)}, status_code=422)


# Functions that are not async are called in several threads.


@app.post("/label")
def label(image: Annotated[bytes, File()]) -> dict[str, Any]:
    """Return the label of an image, its probability, and the nearest exemplars."""
    X = load_images([image], resize=SIZE).images
    now = copy.copy(clf)  # the support as it is, whatever other threads add meanwhile
    probabilities = now.predict_proba(X)[0]
    distances, rows = now.kneighbors(X, min(3, len(now.support_.labels)))
    nearest = zip(now.support_.labels[rows[0]].tolist(), distances[0].tolist(), strict=True)
    return {
        "label": str(now.classes_[np.argmax(probabilities)]),
        "probability": float(probabilities.max()),
        "nearest": [{"label": name, "distance": distance} for name, distance in nearest],
    }


@app.post("/exemplars")
def add(image: Annotated[bytes, File()], label: Annotated[str, Form(min_length=1)]) -> list[str]:
    """Add an exemplar, of a new class or a known one; return all classes."""
    clf.add_support(load_images([image], resize=SIZE).images, [label])
    return clf.classes_.tolist()

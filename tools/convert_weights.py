"""Rewrite a file of format "sksiamese twin 1" in format "sksiamese 2"; nothing is retrained.

    python tools/convert_weights.py OLD.safetensors NEW.safetensors

Parameters and fitted attributes get their present names. The loaders used to return drawings as
0/1, foreground 1, and now return them as 0..255, dark on light: the input scaling follows.
"""

import argparse
import json

import torch
from safetensors import safe_open
from safetensors.torch import save_file

PARAMS = {
    "averaging": "ema_decay",
    "class_transforms": "class_augmentation",
    "distortion": "augmentation",
    "false_acceptance": "false_acceptance_rate",
    "frame": "crop",
    "image_size": "resize",
    "n_members": "n_estimators",
}
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("old")
parser.add_argument("new")
args = parser.parse_args()

with safe_open(args.old, "pt") as file:
    old = json.loads(file.metadata()["about"])
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
if any(name.startswith("network.members.") for name in tensors):
    raise SystemExit(f"{args.old} has several networks; expected one.")

params = {PARAMS.get(name, name): value for name, value in old["params"].items()}
params["crop"] = "foreground" if params["crop"] == "ink" else None
params["batch_size"] = params.pop("batch_shape")
params.update(optimizer_params=None, verbose=0)
fitted = old["fitted"]
about = {
    "format": "sksiamese 2",
    "class": old["class"],
    "params": params,
    "fitted": {
        "input_shape": fitted["input_shape_"],
        "flat": fitted["_fitted_flat"],
        "feature_names": None,
        "calibration": old["calibration"],
        "rejection_threshold": fitted.get("threshold_"),
        "decision_threshold": 0.0,
        "negative_label": 0,
        "held_out_classes": None,
        "held_out_groups": None,
        "history": [fitted["history_"]],
        "adapts": True,
    },
    "working_size": [params["resize"]] * 2,
}
offset = tensors.pop("network.scaling.offset")
scale = tensors.pop("network.scaling.scale")
if not (torch.all(offset == 0) and torch.all(scale == 1)):
    raise SystemExit(f"{args.old} was not trained on drawings of 0 and 1.")
tensors["scaling.offset"] = torch.full_like(offset, 255.0)
tensors["scaling.scale"] = torch.full_like(scale, -255.0)
save_file(tensors, args.new, {"sksiamese": json.dumps(about)})

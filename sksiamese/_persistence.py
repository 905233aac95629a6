"""save and load: one safetensors file, tensors and JSON; no code is run on loading."""

import json
import os
import reprlib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from sklearn.utils.validation import check_is_fitted

from ._params import check_path, check_target
from ._support import SupportSet
from .twin.network import TwinEnsemble

FORMAT = "sksiamese twin 1"


class PersistenceMixin:
    """``save`` and ``load`` of an estimator with ``network_`` and perhaps a ``support_``."""

    _saved = ("input_shape_", "n_features_in_", "n_iter_", "history_", "_fitted_flat", "_adapts",
              "threshold_")  # fmt: skip

    def save(self, path, *, half=False):
        """Write the fitted estimator to one safetensors file.

        Parameters
        ----------
        path : str or path-like
            Replaced as a whole, and only once everything is written.
        half : bool, default=False
            Weights in half precision, half the size; what is learned about the scale of the input
            and of the features stays exact.

        Raises
        ------
        NotFittedError
            If there is no twin yet.
        ValueError
            If a parameter is an object of Python's, which JSON cannot hold.
        OSError
            If the file cannot be written; one that was there is then as it was.

        Examples
        --------
        >>> import tempfile
        >>> from sksiamese import SiameseOneShotClassifier, load_pretrained
        >>> clf = load_pretrained("omniglot")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.save(f"{folder}/twin.safetensors")
        ...     clf = SiameseOneShotClassifier.load(f"{folder}/twin.safetensors")
        """
        check_is_fitted(self, "network_")
        path = check_target(path)
        about = {
            "class": type(self).__name__,
            "params": {name: _plain(name, v) for name, v in self.get_params(deep=False).items()},
            "fitted": {name: getattr(self, name) for name in self._saved if hasattr(self, name)},
        }
        about["calibration"] = self.network_.calibration
        if hasattr(self, "feature_names_in_"):
            about["feature_names_in_"] = self.feature_names_in_.tolist()
        tensors = {
            name: t.half() if half and t.ndim > 1 and t.dtype == torch.float32 else t
            for name, t in self.network_.state_dict(prefix="network.").items()
            if ".scaling." not in name or name.endswith((".offset", ".scale"))
        }
        if getattr(self, "support_", None) is not None:
            tensors["support.codes"] = self.support_.codes
            labels = self.support_.labels
            about["labels"] = _written(labels)
        metadata = {"format": FORMAT, "about": json.dumps(about, default=_number)}
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(save({k: t.contiguous() for k, t in tensors.items()}, metadata))
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path):
        """Read an estimator that `save` wrote.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        estimator : object
            Fitted, with the support it was saved with.

        Raises
        ------
        OSError
            If there is no such file, or it is damaged.
        ValueError
            If it holds something else.
        """
        check_path(path)
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise OSError(f"{path} is damaged, or no safetensors file: {error}") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"{path} has format {metadata.get('format')!r}; expected {FORMAT!r}, a file that "
                "save wrote."
            )
        try:
            return cls._restored(path, json.loads(metadata["about"]), tensors)
        except (KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} lacks what save writes about a twin: {error!r}.") from error

    @classmethod
    def _restored(cls, path, about, tensors):
        kind, params, fitted = about["class"], about["params"], about["fitted"]
        if kind != cls.__name__:
            raise ValueError(f"{path} holds a {kind}: load it by that class.")
        self = cls(**{name: _tuples(value) for name, value in params.items()})
        self.__dict__.update(fitted, input_shape_=tuple(fitted["input_shape_"]))
        if "feature_names_in_" in about:
            self.feature_names_in_ = np.array(about["feature_names_in_"], dtype=object)
        codes, labels = tensors.pop("support.codes", None), about.get("labels")
        offset, scale = (
            next((t for name, t in tensors.items() if name.endswith(f".scaling.{part}")), None)
            for part in ("offset", "scale")
        )
        if offset is None or scale is None:
            raise ValueError(f"{path} lacks the scaling of the twin's images.")
        members = {name.split(".")[2] for name in tensors if name.startswith("network.members.")}
        networks = [self._assemble(offset, scale, seed=0) for _ in members or "1"]
        network = TwinEnsemble(networks) if members else networks[0]
        state = {name.removeprefix("network."): t.float() if t.dtype == torch.float16 else t
                 for name, t in tensors.items()}  # fmt: skip
        missing, unexpected = network.load_state_dict(state, strict=False)
        missing = [name for name in missing if ".scaling." not in f".{name}"]
        if missing or unexpected:
            raise ValueError(
                f"{path} does not fit its own parameters: it lacks {missing} and has {unexpected}."
            )
        for member in networks:
            member.fold()
        self.network_ = network.calibrated(*about.get("calibration", (1.0, 0.0)))
        if hasattr(self, "set_support"):
            self.support_ = None
        if codes is not None:
            labels = _labels_of(labels)
            if len(labels) != len(codes):
                raise ValueError(f"{path} has {len(labels)} labels of {len(codes)} exemplars.")
            self.support_ = SupportSet(codes, labels)
        return self


def _number(value):
    """NumPy's numbers, which skorch's callbacks may put into the history, as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise ValueError(
        f"history_ holds {reprlib.repr(value)}, which save cannot write: record numbers."
    )


def _written(labels):
    """Labels as JSON has them."""
    dtype, kind = str(labels.dtype), labels.dtype.kind
    if kind == "T":  # NumPy's strings of any length
        dtype, labels = "object", labels.astype(object)
    elif kind == "S":
        labels = np.char.decode(labels, "latin-1")
    elif kind in "mM":
        labels = labels.astype("int64")
    return {"dtype": dtype, "values": labels.tolist()}


def _labels_of(written):
    """The labels that `_written` made JSON of."""
    values, dtype = written["values"], np.dtype(written["dtype"])
    if dtype.kind == "S":
        return np.char.encode(values, "latin-1").astype(dtype)
    return np.array(values, dtype=dtype)


def _plain(name, value):
    """A parameter as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(name, v) for v in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, v) for key, v in value.items()}
    advice = "pickle the estimator"
    if name == "preprocessor":
        advice += ", or set_params(preprocessor=None) first, and give it again after load"
    elif name != "encoder":
        advice += f", or set_params({name}=None) first, which changes no prediction"
    raise ValueError(
        f"{name}={reprlib.repr(value)} is an object that save cannot write: {advice}."
    )


def _tuples(value):
    """JSON's lists as the tuples that they were."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {key: _tuples(v) for key, v in value.items()}
    return value

"""Model files taken apart, changed and put together again, with a digest that fits."""

import hashlib
import json

import numpy as np

START = 8 + len('{"__metadata__":{"sksiamese":"')
NO_DIGEST = "0" * 64
DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1"}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def header_of(content):
    """Return the header of a file, as JSON, and the bytes after it."""
    length = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:length]), content[length:]


def read(path):
    """Return what a file says of its estimator, as JSON, and its arrays."""
    return parts_of(path.read_bytes())


def parts_of(content):
    """Return what the bytes of a file say of its estimator, as JSON, and its arrays."""
    header, values = header_of(content)
    about = json.loads(header.pop("__metadata__")["sksiamese"][64:])
    arrays = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        flat = np.frombuffer(values[start:stop], DTYPES[entry["dtype"]])
        arrays[name] = flat.reshape(entry["shape"]).copy()
    return about, arrays


def with_digest(content):
    """Return a file's bytes with the digest of all other bytes in its place."""
    others = content[:START] + content[START + 64 :]
    return content[:START] + hashlib.sha256(others).hexdigest().encode() + content[START + 64 :]


def joined(header, values):
    """Return the bytes of a file with this header, JSON or text, and a digest that fits."""
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    written = text.encode()
    written += b" " * (-len(written) % 8)
    return with_digest(len(written).to_bytes(8, "little") + written + values)


def write(path, about, arrays):
    """Write a file of this JSON, or text, and these arrays."""
    path.write_bytes(content_of(about, arrays))


def content_of(about, arrays):
    """Return the bytes of a file of this JSON, or text, and these arrays."""
    text = about if isinstance(about, str) else json.dumps(about)
    header = {"__metadata__": {"sksiamese": NO_DIGEST + text}}
    values, place = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):
        array = np.asarray(arrays[name])
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        values.append(array.tobytes())
        place += array.nbytes
    return joined(header, b"".join(values))

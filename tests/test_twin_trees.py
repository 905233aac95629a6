"""Trees of values as files: the same types and bits come back, and any damage is noticed."""

import collections
from pathlib import Path

import numpy as np
import pytest
import torch

from sksiamese.twin.trees import read_tree, write_tree

TREES = [
    None,
    True,
    3,
    2**80,
    0.1,
    -0.0,
    float("inf"),
    "ü",
    b"\0\xff",
    [1, [2]],
    (1, (2, "a")),
    {"a": 1, 2: (3,), None: [], (1, 2): {}},
    {1, 2},
    frozenset("a"),
    collections.OrderedDict(b=1, a=2),
    collections.Counter("abba"),
    collections.deque([1, 2], maxlen=2),
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_read_tree_returns_values_of_the_same_type(tmp_path, tree):
    write_tree(tmp_path / "a", {"value": tree})
    value = read_tree(tmp_path / "a")["value"]
    assert type(value) is type(tree)
    assert value == tree
    assert repr(value) == repr(tree)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.zeros((0, 3), np.float16),
        np.array(2.5),
        np.float32(0.1),
        np.int64(3),
        np.bool_(True),
        np.array(["a", "bcd"]),
        np.datetime64("2026-01-01"),
        np.array([1, 2], ">i4"),
        np.array([1j]),
    ],
    ids=repr,
)
def test_read_tree_returns_arrays_and_numbers_of_numpy(tmp_path, array):
    write_tree(tmp_path / "a", [array])
    (value,) = read_tree(tmp_path / "a")
    assert type(value) is type(array)
    assert value.dtype == array.dtype
    assert value.shape == array.shape
    assert value.tobytes() == array.tobytes()


TENSORS = {
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 2),
    "contiguous": torch.rand(2, 3, 4, 5),
    "channels_last": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "single_channel": torch.rand(2, 1, 4, 5).contiguous(memory_format=torch.channels_last),
    "transposed": torch.rand(3, 5).T,
    "expanded": torch.rand(3, 1).expand(3, 4),
    "strided": torch.rand(10)[::2],
    "nan": torch.tensor([float("nan"), -0.0]),
    **{str(dtype): torch.ones(3).to(dtype) for dtype in (torch.bfloat16, torch.bool, torch.int8)},
}


@pytest.mark.parametrize("name", TENSORS)
def test_read_tree_returns_tensors_in_the_same_order_of_memory(tmp_path, name):
    tensor = TENSORS[name]
    write_tree(tmp_path / "a", (tensor,))
    (value,) = read_tree(tmp_path / "a")
    assert value.dtype == tensor.dtype
    assert (
        value.numpy(force=True).tobytes() == tensor.numpy(force=True).tobytes()
        if (tensor.dtype is not torch.bfloat16)
        else torch.equal(value, tensor)
    )
    if name not in ("expanded", "strided"):  # which do not fill their memory
        assert value.stride() == tensor.stride()


@pytest.mark.parametrize(
    "value", [object(), len, 1j, torch.zeros(2).to_sparse(), np.array([object()]), Path("a")]
)
def test_write_tree_refuses_what_it_could_not_read_without_running_code(tmp_path, value):
    with pytest.raises(TypeError, match="it holds a"):
        write_tree(tmp_path / "a", {"value": [value]})
    assert list(tmp_path.iterdir()) == []


def test_read_tree_refuses_any_flipped_bit(tmp_path):
    path = tmp_path / "a"
    write_tree(path, {"a": torch.arange(3), "b": "text"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises((OSError, ValueError), match="a"):
            read_tree(path)

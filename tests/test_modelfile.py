"""The bytes of model files: what is read is what was written, or an error names the file."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import time

import model_files
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.datasets import make_glyphs

X, y = make_glyphs(n_classes=6, n_samples=4, image_size=16, random_state=0)


@pytest.fixture(scope="module")
def small():
    clf = SiameseOneShotClassifier(
        encoder="mlp", encoder_params={"n_units": 1}, resize=4, max_iter=1, random_state=0
    )
    return clf.fit(X, y)


@pytest.fixture
def saved(small, tmp_path):
    """The path of a saved classifier."""
    small.save(tmp_path / "network")
    return tmp_path / "network"


def load(path):
    return SiameseOneShotClassifier.load(path)


# What save writes


def test_save_writes_what_other_readers_of_safetensors_read(saved, small):
    about, arrays = model_files.read(saved)
    theirs = load_file(saved)
    assert theirs.keys() == arrays.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
    with safe_open(saved, "np") as file:
        metadata = file.metadata()
    digest, text = metadata["sksiamese"][:64], metadata["sksiamese"][64:]
    assert json.loads(text) == about
    content = saved.read_bytes()
    place = content.index(digest.encode())
    others = content[:place] + content[place + 64 :]
    assert hashlib.sha256(others).hexdigest() == digest
    np.testing.assert_array_equal(arrays["support.embeddings"], small.support_.embeddings)


ELSEWHERE = """
import os, resource, signal, sys
import numpy as np
from sksiamese import SiameseOneShotClassifier

def refused(call, path):
    try:
        call(path)
    except (OSError, ValueError) as error:
        return path in str(error)
    return False

folder = sys.argv[1]
clf = SiameseOneShotClassifier.load(folder + "/network")
clf.save(folder + "/again")
size = os.sysconf("SC_PAGE_SIZE") * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, size + 2**28))
for name in ("sparse", "large"):
    assert refused(SiameseOneShotClassifier.load, f"{folder}/{name}"), name
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
assert refused(clf.save, folder + "/network"), "full"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of memory and of files")
def test_save_and_load_in_another_process_within_limits(saved):
    """The same bytes; little memory for files that say they are large; a disk that is full.

    A file of 40 GB without contents, and one with 80 MB of zeros in an array that no network has.
    A limit of the size of files fails a write as a full disk does.
    """
    before = saved.read_bytes()
    header = {"__metadata__": {"sksiamese": "0" * 64 + "{}"}}
    for name, n, values in [("sparse", 10**10, b""), ("large", 2 * 10**7, bytes(8 * 10**7))]:
        header["x"] = {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}
        path = saved.with_name(name)
        path.write_bytes(model_files.joined(header, values))
        os.truncate(path, path.stat().st_size - len(values) + 4 * n)
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", ELSEWHERE, saved.parent]
    subprocess.run(command, env=environment, check=True)
    assert saved.with_name("again").read_bytes() == before
    assert saved.read_bytes() == before
    assert sorted(os.listdir(saved.parent)) == ["again", "large", "network", "sparse"]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a" * 250, "中 ?*".encode(), b"-x", b".part"])
def test_save_and_load_take_file_names_of_any_bytes(tmp_path, small, name):
    path = os.path.join(os.fsdecode(tmp_path), os.fsdecode(name))
    small.save(path)
    small.save(path)
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    np.testing.assert_array_equal(load(path).predict(X), small.predict(X))
    with open(path, "ab") as file:
        file.write(b"\0")
    with pytest.raises(OSError, match="is damaged") as error:
        load(path)
    assert str(error.value).encode().startswith(os.fsencode(tmp_path))


def test_save_keeps_the_mode_of_a_file(saved, small):
    saved.chmod(0o600)
    small.save(saved)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
def test_save_refuses_what_is_no_file(tmp_path, small):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for name, message in [("loop", "a link to itself"), ("pipe", "not a regular file")]:
        with pytest.raises(OSError, match=f"Cannot write .*{name}: it is {message}"):
            small.save(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["loop", "pipe"]


def test_save_on_several_threads_shows_whole_files_only(saved, small):
    other = SiameseOneShotClassifier.load(saved).set_support(X[:4], list("abcd"))
    end, seen, errors = time.monotonic() + 1, set(), []

    def repeat(call):
        while time.monotonic() < end:
            try:
                call()
            except Exception as error:
                errors.append(error)

    def see():
        seen.add(tuple(load(saved).classes_))

    calls = [lambda: small.save(saved), lambda: other.save(saved), see, see]
    threads = [threading.Thread(target=repeat, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen == {tuple(range(6)), tuple("abcd")}
    assert os.listdir(saved.parent) == [saved.name]


# Damage


def test_load_notices_each_flipped_bit(saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    start = 8 + int.from_bytes(content[:8], "little")
    places = {*range(140), *rng.integers(140, start, 150), *range(start - 9, start + 9)}
    places |= {*rng.integers(start, len(content), 300), len(content) - 1}
    path = saved.with_name("changed")
    for place in sorted(places):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises((OSError, ValueError), match="changed"):
            load(path)


def test_load_says_that_a_file_with_a_flipped_bit_is_damaged(saved):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    with pytest.raises(OSError, match="network is damaged.*its digest is of other contents"):
        load(saved)


@pytest.mark.parametrize("change", ["cut", "extended", "empty", "zeros"])
def test_load_notices_another_length(saved, change):
    content = saved.read_bytes()
    changes = {
        "cut": content[:-8],
        "extended": content + bytes(8),
        "empty": b"",
        "zeros": bytes(len(content)),
    }
    saved.write_bytes(changes[change])
    with pytest.raises(OSError, match="network is damaged"):
        load(saved)


# Headers with a digest that fits


def a_gap(header, values):
    last = list(header)[-1]
    header[last]["data_offsets"] = [offset + 8 for offset in header[last]["data_offsets"]]
    return header, values + bytes(8)


def an_overlap(header, values):
    first, second = list(header)[1:3]
    header[second]["data_offsets"] = header[first]["data_offsets"]
    return header, values


def further_bytes(header, values):
    return header, values + bytes(8)


def further_metadata(header, values):
    header["__metadata__"]["x"] = "y"
    return header, values


def other_dtype(dtype):
    def change(header, values):
        header[next(name for name in header if "weight" in name)]["dtype"] = dtype
        return header, values

    return change


def other_shape(*shape):
    def change(header, values):
        header[next(name for name in header if "weight" in name)]["shape"] = list(shape)
        return header, values

    return change


@pytest.mark.parametrize(
    "change",
    [
        a_gap,
        an_overlap,
        further_bytes,
        further_metadata,
        *map(other_dtype, ["I32", "BF16", "F64", "F16", "x", None, 10**400]),
        other_shape(-1),
        other_shape(2**62, 0),
        other_shape(10**400),
        other_shape("1"),
        other_shape(*[1] * 70),
    ],
)
def test_load_refuses_headers_that_save_does_not_write(saved, change):
    header, values = change(*model_files.header_of(saved.read_bytes()))
    saved.write_bytes(model_files.joined(header, values))
    with pytest.raises(ValueError, match="network"):
        load(saved)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", '{"x":' * 100_000, "[" * 10**6, '"\\ud800"', "NaN", "9" * 10_000],
    ids=lambda text: text[:6],
)
@pytest.mark.parametrize("ours", [False, True])
def test_load_refuses_headers_of_strange_json(saved, text, ours):
    start = '{"__metadata__":{"sksiamese":"' + "0" * 64 if ours else ""
    saved.write_bytes(model_files.joined(start + text, b""))
    with pytest.raises((OSError, ValueError), match="network") as error:
        load(saved)
    assert len(str(error.value)) < 2000


# What is no file, or has no end


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's special files")
@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/null", "/proc/self/maps", "/proc/kcore", "/proc/kmsg", "/"]
)
@pytest.mark.parametrize("cls", [SiameseOneShotClassifier, SiameseVerifier])
def test_load_refuses_special_files_at_once(path, cls):
    with pytest.raises(OSError, match=path):
        cls.load(path)


@pytest.mark.skipif(os.name == "nt", reason="needs pipes")
def test_load_refuses_a_pipe_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Cannot read .*pipe: it is a named pipe"):
        load(tmp_path / "pipe")


def test_load_of_a_file_that_is_replaced_meanwhile_returns_the_old_or_the_new(saved, small):
    """Reading in place: a file that others overwrite is read once, and its digest checked."""
    content = saved.read_bytes()
    other = SiameseOneShotClassifier.load(saved).set_support(X[:4], list("abcd"))
    other.save(saved.with_name("other"))
    theirs = saved.with_name("other").read_bytes()
    end, found = time.monotonic() + 1, set()

    def overwrite():
        while time.monotonic() < end:
            for part in (content, theirs):
                with open(saved, "r+b") as file:
                    file.write(part)
                    file.truncate()

    thread = threading.Thread(target=overwrite)
    thread.start()
    while time.monotonic() < end:
        try:
            found.add(tuple(load(saved).classes_))
        except OSError:
            found.add("damaged")
    thread.join()
    assert found <= {tuple(range(6)), tuple("abcd"), "damaged"}
    assert len(found) > 1

"""Files that are replaced as a whole, met through trees of values that are written this way."""

import errno
import os
import stat
import threading

import pytest

from sksiamese.twin.trees import read_tree, write_tree

posix = pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["a.bin", "x" * 250, ".hidden", "-n ü\n日"])
def test_write_tree_writes_and_replaces_files_of_any_name(tmp_path, name):
    path = tmp_path / name
    for value in (1, 2):
        write_tree(path, value)
        assert read_tree(path) == value
    assert names(tmp_path) == [name]


@posix
def test_write_tree_keeps_the_mode_of_a_file_and_gives_a_new_one_that_of_the_umask(tmp_path):
    path = tmp_path / "a"
    before = os.umask(0o027)
    try:
        write_tree(path, 1)
    finally:
        os.umask(before)
    assert mode_of(path) == 0o640
    path.chmod(0o604)
    write_tree(path, 2)
    assert mode_of(path) == 0o604


@posix
def test_write_tree_through_a_link_writes_its_target(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    link.symlink_to(target)
    for value in (1, 2):  # the target is made, and replaced
        write_tree(link, value)
        assert link.is_symlink()
        assert read_tree(target) == value


def test_write_tree_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_tree(path, 1)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device: .*a'") as caught:
        write_tree(path, 2)
    assert caught.value.errno == errno.ENOSPC
    assert read_tree(path) == 1
    assert names(tmp_path) == ["a"]


def test_write_tree_into_no_folder_names_the_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="none/a'"):
        write_tree(tmp_path / "none" / "a", 1)


def test_write_tree_syncs_the_file_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda number: done.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    write_tree(tmp_path / "a", 1)
    assert done[:2] == ["fsync", "replace"]


def test_write_tree_on_several_threads_never_shows_half_a_file(tmp_path):
    path = tmp_path / "a"
    write_tree(path, [0] * 1000)
    errors = []

    def write(value):
        try:
            for _ in range(10):
                write_tree(path, [value] * 1000)
                assert len(set(read_tree(path))) == 1
        except BaseException as error:  # to be seen in the main thread
            errors.append(error)

    threads = [threading.Thread(target=write, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(tmp_path) == ["a"]

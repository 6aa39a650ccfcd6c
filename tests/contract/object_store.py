"""What every ObjectStore must do. Subclass it and give a `store` fixture."""

import contextlib
import pickle
import threading
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readingroom_hub.errors import BadInput, Conflict, NotFound
from readingroom_hub.ports.objects import ObjectStore

_FOLDERS = ("a", "a/b", "ab")
_STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(_FOLDERS), st.sampled_from("xyz"), st.binary(max_size=40)),
    st.tuples(
        st.just("read"), st.sampled_from(_FOLDERS), st.sampled_from("xyz"), st.integers(0, 50), st.integers(0, 50)
    ),
    st.tuples(st.just("names"), st.sampled_from(_FOLDERS)),
    st.tuples(st.just("delete"), st.sampled_from(_FOLDERS)),
)


def act_out(store, steps):
    """Do the same to `store` and to a dictionary, and find no difference."""
    top, model = f"m-{uuid.uuid4().hex}", {}
    for what, folder, *rest in steps:
        at = f"{top}/{folder}"
        if what == "put":
            name, data = f"{at}/{rest[0]}", rest[1]
            if name in model:
                with pytest.raises(Conflict):
                    store.put(name, data)
            else:
                store.put(name, data)
                model[name] = data
        elif what == "read":
            name, offset, size = f"{at}/{rest[0]}", rest[1], rest[2]
            if name in model:
                assert store.read(name, offset, size) == model[name][offset:][:size]
                assert store.size(name) == len(model[name])
            else:
                with pytest.raises(NotFound):
                    store.read(name, offset, size)
        elif what == "names":
            assert sorted(store.names(at)) == sorted(n for n in model if n.startswith(f"{at}/"))
        else:
            store.delete(at)
            model = {n: d for n, d in model.items() if not n.startswith(f"{at}/")}
    store.delete(top)


class ObjectStoreContract:
    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
    def test_what_was_put_is_read(self, store, data):
        store.put("k-1/ab/cd", data)
        assert store.read("k-1/ab/cd") == data
        assert store.size("k-1/ab/cd") == len(data)

    @pytest.mark.parametrize(
        ("offset", "size"), [(0, 0), (0, 3), (4, 3), (8, 30), (10, 5), (99, 1), (3, None), (99, None)]
    )
    def test_a_part_is_read(self, store, offset, size):
        store.put("k-1/part", b"0123456789")
        assert store.read("k-1/part", offset, size) == b"0123456789"[offset:][:size]

    def test_a_hint_changes_nothing_whatever_it_names(self, store):
        store.put("k-1/part", b"0123456789")
        for hint in (("k-1/part",), ("k-1/part", 3, 4), ("k-1/part", 99, 9), ("k-1/none",)):
            store.expect(*hint)
        assert store.read("k-1/part") == b"0123456789"

    def test_nothing_is_replaced(self, store):
        store.put("k-1/once", b"first")
        with pytest.raises(Conflict, match="k-1/once"):
            store.put("k-1/once", b"second")
        assert store.read("k-1/once") == b"first"

    def test_of_many_writers_of_one_name_one_wins(self, store):
        won = []

        def write(n):
            with contextlib.suppress(Conflict):
                store.put("k-1/race", b"%d" % n * 10000)
                won.append(n)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(won) == 1
        assert store.read("k-1/race") == b"%d" % won[0] * 10000
        assert list(store.names("k-1")) == ["k-1/race"]

    def test_a_pickled_store_is_the_same_store(self, store):
        store.put("k-1/here", b"first")
        elsewhere = pickle.loads(pickle.dumps(store))
        assert elsewhere.read("k-1/here") == b"first"
        with pytest.raises(Conflict):
            elsewhere.put("k-1/here", b"second")

    def test_a_missing_name_is_not_found(self, store):
        store.put("k-1/there", b"")
        for missing in ("k-1/not-there", "k-2/not-there", "k-1"):
            with pytest.raises(NotFound, match=missing):
                store.read(missing)
            with pytest.raises(NotFound, match=missing):
                store.size(missing)

    def test_names_are_those_below_the_folder(self, store):
        for name in ("k-1/manifest", "k-1/ab/1", "k-1/cd/2", "k-11/x"):
            store.put(name, b"")
        assert sorted(store.names("k-1")) == ["k-1/ab/1", "k-1/cd/2", "k-1/manifest"]
        assert list(store.names("k-3")) == []

    def test_delete_removes_the_folder_and_nothing_else(self, store):
        for name in ("k-1/manifest", "k-1/ab/1", "k-11/x"):
            store.put(name, b"")
        store.delete("k-1")
        store.delete("k-1")
        assert list(store.names("k-1")) == []
        assert list(store.names("k-11")) == ["k-11/x"]
        store.put("k-1/manifest", b"new")
        assert store.read("k-1/manifest") == b"new"

    def test_remove_takes_one_object_and_nothing_else(self, store):
        for name in ("k-1/manifest", "k-1/ab/1", "k-1/ab/12"):
            store.put(name, b"")
        store.remove("k-1/ab/1")
        store.remove("k-1/ab/1")
        store.remove("k-2/never")
        assert sorted(store.names("k-1")) == ["k-1/ab/12", "k-1/manifest"]
        store.put("k-1/ab/1", b"new")
        assert store.read("k-1/ab/1") == b"new"

    def test_sweep_leaves_every_object(self, store):
        for name in ("k-1/manifest", "k-1/ab/1"):
            store.put(name, b"1")
        store.sweep("k-1")
        store.sweep("k-2")
        assert sorted(store.names("k-1")) == ["k-1/ab/1", "k-1/manifest"]
        assert store.read("k-1/ab/1") == b"1"

    def test_any_history_ends_as_in_a_dictionary(self, store):
        @settings(max_examples=25, deadline=None)
        @given(st.lists(_STEPS, max_size=20))
        def holds(steps):
            act_out(store, steps)

        holds()

    @pytest.mark.parametrize(
        "name", ["", "/", "/etc/passwd", "../up", "a/../b", "a/./b", "a//b", "a/", "a b", "a\0b", "a\\b", "ä", ".."]
    )
    def test_path_tricks_are_refused(self, store, name):
        for call in (
            lambda: store.put(name, b""),
            lambda: store.read(name),
            lambda: store.size(name),
            lambda: store.remove(name),
        ):
            with pytest.raises(BadInput):
                call()
        for walk in (lambda: list(store.names(name)), lambda: store.delete(name)):
            with pytest.raises(BadInput):
                walk()

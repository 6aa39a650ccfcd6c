"""Ids of audit records: RFC 9562 version 7, and none twice, in whichever thread or process they are made."""

import os
import threading
import time
import uuid

from readingroom_hub.model.audit import uuid7


def test_an_id_is_a_uuid_of_version_7_of_its_moment():
    before = time.time_ns() // 1_000_000
    made = [uuid.UUID(uuid7()) for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert {(u.version, u.variant) for u in made} == {(7, uuid.RFC_4122)}
    assert all(before <= u.int >> 80 <= after for u in made)
    drawn = [(u.int >> 64 & 0xFFF) << 62 | u.int & (1 << 62) - 1 for u in made]
    assert len(set(drawn)) == 1000
    for bit in range(74):  # each set in half of them; a 1000 tosses of a coin give 300 or fewer once in 10^37
        assert 300 < sum(d >> bit & 1 for d in drawn) < 700


def test_the_kernel_is_seldom_asked(monkeypatch):
    """Each time, the interpreter's lock goes to another thread."""
    asked: list[int] = []
    urandom = os.urandom
    monkeypatch.setattr(os, "urandom", lambda length: asked.append(length) or urandom(length))
    assert len({uuid7() for _ in range(1000)}) == 1000
    assert len(asked) <= 4


def test_threads_and_a_forked_process_never_make_the_same_id():
    made: list[str] = [uuid7()]  # so that what was drawn ahead would be shared
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "".join(uuid7()[14:] for _ in range(50)).encode())
        os._exit(0)
    os.close(writing)
    threads = [threading.Thread(target=lambda: made.extend(uuid7() for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    ends = [id[14:] for id in made] + [text[start : start + 22] for start in range(0, len(text), 22)]
    assert len(set(ends)) == len(ends) == 8051

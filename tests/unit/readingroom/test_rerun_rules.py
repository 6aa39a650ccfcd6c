import base64
import io

import nbformat.v4 as nb
import numpy as np
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from PIL import Image

from readingroom.errors import RerunRefused
from readingroom.rerun import compare, parameters, seal
from readingroom.rerun.compare import Verdict
from readingroom.rerun.outcome import Ending, outcome_of


def code(source, *outputs, count=None, tags=()):
    return nb.new_code_cell(source, outputs=list(outputs), execution_count=count, metadata={"tags": list(tags)})


def notebook(*cells):
    return nb.new_notebook(cells=list(cells))


def stream(text, name="stdout"):
    return nb.new_output("stream", name=name, text=text)


def result(**data):
    return nb.new_output("display_data", data={k.replace("_", "/"): v for k, v in data.items()})


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


# Parameters: traps 3 and 5 of papermill.


def test_values_are_json_or_text():
    assert parameters.parsed(["n=3", "x=0.5", "name=chest-ct", "flag=true", "w=[1, 2]", "eq=a=b", "empty="]) == {
        "n": 3,
        "x": 0.5,
        "name": "chest-ct",
        "flag": True,
        "w": [1, 2],
        "eq": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize("pairs", [["n"], ["n=1", "n=2"]])
def test_pairs_that_are_none(pairs):
    with pytest.raises(RerunRefused):
        parameters.parsed(pairs)


DECLARED = notebook(code("a = 1\nb: str = 'x=y'  # with = inside\nc = d = f(a=2)\nprint(e := 4)", tags=["parameters"]))


def test_names_come_from_the_syntax_tree():
    assert parameters.declared(DECLARED) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("name", ["y=1; print('PWNED'); z", "unknown", "e", "a b", "", "class", "a\n"])
def test_other_names_never_reach_the_kernel(name):
    with pytest.raises(RerunRefused, match="declares no parameter"):
        parameters.check({name: 1}, DECLARED)


def test_a_notebook_without_the_cell_takes_none():
    with pytest.raises(RerunRefused, match="declares: none"):
        parameters.check({"a": 1}, notebook(code("a = 1")))


def test_two_cells_or_no_python():
    with pytest.raises(RerunRefused, match="several cells"):
        parameters.declared(notebook(code("a=1", tags=["parameters"]), code("b=1", tags=["parameters"])))
    with pytest.raises(RerunRefused, match="not plain Python"):
        parameters.declared(notebook(code("%magic", tags=["parameters"])))


# Outcome: traps 1 and 2.


def test_complete_needs_every_cell_in_sequence():
    done = notebook(code("1", count=1), nb.new_markdown_cell("x"), code(""), code("2", count=2))
    assert outcome_of(done, None, 4).ending is Ending.COMPLETE
    for counts in [(1, None), (None, None), (1, 3), (2, 3)]:
        cells = [code("1", count=counts[0]), code("2", count=counts[1])]
        assert outcome_of(notebook(*cells), None, 2).ending is Ending.ENDED_EARLY


@pytest.mark.parametrize(
    ("raised", "ending"),
    [
        (DeadKernelError("Kernel died"), Ending.KERNEL_DIED),
        (CellTimeoutError("late"), Ending.TIMEOUT),
        (RuntimeError("Kernel died before replying"), Ending.NOT_STARTED),
    ],
)
def test_what_was_raised_is_reported_as_what_it_is(raised, ending):
    # Metadata that says `completed` of every cell, as papermill writes it, changes nothing.
    cells = [code("1", count=1), code("2", count=2), code("3")]
    for cell in cells:
        cell.metadata["papermill"] = {"status": "completed", "exception": None}
    found = outcome_of(notebook(*cells), raised, 2)
    assert found.ending is ending
    assert found.cell == (3 if ending is Ending.NOT_STARTED else 2)


def test_errors_name_their_cell():
    error = nb.new_output("error", ename="ValueError", evalue="no", traceback=[])
    found = outcome_of(notebook(nb.new_markdown_cell("x"), code("1", error, count=1)), None, 2)
    assert (found.ending, found.cell) == (Ending.ERROR, 2)
    assert "ValueError: no" in found.text


# Comparison.


def verdict(left, right, tags=()):
    (found,) = compare.compare(notebook(code("x", *left, tags=tags)), notebook(code("x", *right)))
    return found.verdict


GREY = np.arange(10_000, dtype=np.uint8).reshape(100, 100)


def changed(pixels, by):
    out = GREY.astype(np.int16)
    out.reshape(-1)[50 : 50 + pixels] += by
    return out.astype(np.uint8)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([stream("a 1.0")], [stream("a 1.0")], Verdict.IDENTICAL),
        ([stream("a 1.0"), stream("\n")], [stream("a 1.0\n")], Verdict.IDENTICAL),
        ([stream("mean 0.123456789")], [stream("mean 0.123456790")], Verdict.WITHIN_TOLERANCE),
        ([stream("mean 0.1234")], [stream("mean 0.1235")], Verdict.DIFFERS),
        ([stream("slice 41 of 300")], [stream("slice 42 of 300")], Verdict.DIFFERS),
        ([stream("mean 1")], [stream("mode 1")], Verdict.DIFFERS),
        ([stream("1 2")], [stream("1 2 3")], Verdict.DIFFERS),
        ([stream("<A at 0x7f1234567890>")], [stream("<A at 0x7f9999999999>")], Verdict.IDENTICAL),
        ([stream("warning", "stderr")], [], Verdict.IDENTICAL),
        ([stream("a")], [], Verdict.MISSING),
        ([], [stream("a")], Verdict.EXTRA),
        ([stream("a")], [stream("a"), result(text_plain="b")], Verdict.EXTRA),
        ([result(text_plain="a", text_html="<b>")], [result(text_plain="a")], Verdict.MISSING),
        ([result(image_png=png(GREY))], [result(image_png=png(GREY))], Verdict.IDENTICAL),
        ([result(image_png=png(GREY))], [result(image_png=png(changed(5, 40)))], Verdict.WITHIN_TOLERANCE),
        ([result(image_png=png(GREY))], [result(image_png=png(changed(500, 2)))], Verdict.WITHIN_TOLERANCE),
        ([result(image_png=png(GREY))], [result(image_png=png(changed(50, 40)))], Verdict.DIFFERS),
        ([result(image_png=png(GREY))], [result(image_png=png(GREY[:50]))], Verdict.DIFFERS),
        ([result(image_png=png(GREY))], [result(image_png="bm9uZQ==")], Verdict.DIFFERS),
        ([stream("nan inf")], [stream("nan inf")], Verdict.IDENTICAL),
    ],
)
def test_verdicts(left, right, expected):
    assert verdict(left, right) is expected


def test_the_same_picture_packed_differently_is_identical():
    out = io.BytesIO()
    Image.fromarray(GREY).save(out, "PNG", compress_level=0)
    other = base64.b64encode(out.getvalue()).decode()
    assert other != png(GREY)
    assert verdict([result(image_png=png(GREY))], [result(image_png=other)]) is Verdict.IDENTICAL


def test_widgets_count_by_their_still_picture():
    live = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "view"}
    other = {"application/vnd.jupyter.widget-view+json": {"model_id": "b"}, "text/plain": "view"}
    still = {"image/png": png(GREY)}
    one, two = (nb.new_output("display_data", data={**d, **still}) for d in (live, other))
    assert verdict([one], [two]) is Verdict.IDENTICAL
    assert verdict([nb.new_output("display_data", data=live)], []) is Verdict.IDENTICAL


def test_nondeterministic_cells_are_counted_apart():
    assert verdict([stream("1")], [stream("2")], tags=["nondeterministic"]) is Verdict.EXCLUDED


def test_injected_parameters_are_on_neither_side():
    stored = notebook(code("n = 1", tags=["parameters"]), code("x", stream("1")))
    rerun = notebook(
        code("n = 1", tags=["parameters"]), code("n = 2", tags=["injected-parameters"]), code("x", stream("1"))
    )
    found = compare.compare(stored, rerun)
    assert [(c.cell, c.verdict) for c in found] == [(1, Verdict.IDENTICAL), (3, Verdict.IDENTICAL)]
    assert compare.reproduced(found)


# The seal's program, read back by a small machine of our own.


def run_filter(program, arch, number, *arguments):
    import struct

    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    ops = [struct.unpack("HBBI", program[i : i + 8]) for i in range(0, len(program), 8)]
    at, value = 0, 0
    while True:
        op, yes, no, operand = ops[at]
        at += 1
        if op == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif op == 0x54:
            value &= operand
        elif op == 0x15:
            at += yes if value == operand else no
        elif op == 0x35:
            at += yes if value >= operand else no
        else:
            return operand


ALLOW = 0x7FFF0000
MACHINES = [("x86_64", 0xC000003E, 41, 42, 0), ("aarch64", 0xC00000B7, 198, 203, 63)]


@pytest.mark.parametrize(("machine", "arch", "socket_call", "connect_call", "read_call"), MACHINES)
def test_the_filter_by_machine(machine, arch, socket_call, connect_call, read_call):
    program = seal.filter_program(machine)
    unix, ipv4, ipv6, netlink, packet, vsock = 1, 2, 10, 16, 17, 40
    stream_type, datagram, cloexec = 1, 2, 0o2000000
    assert run_filter(program, arch, read_call) == ALLOW
    assert run_filter(program, arch, socket_call, unix, stream_type | cloexec) == ALLOW
    assert run_filter(program, arch, socket_call, unix, datagram) & 0xFFFF0000 == 0x50000
    for family in (ipv4, ipv6, netlink, packet, vsock):
        assert run_filter(program, arch, socket_call, family, stream_type) & 0xFFFF0000 == 0x50000
    assert run_filter(program, arch, connect_call) & 0xFFFF0000 == 0x50000
    assert run_filter(program, arch, 425) & 0xFFFF0000 == 0x50000
    assert run_filter(program, arch, 0x40000000 | read_call) & 0xFFFF0000 == 0x50000
    assert run_filter(program, arch ^ 1, read_call) == 0x80000000


def test_an_unknown_machine_is_refused():
    with pytest.raises(RerunRefused, match="riscv64"):
        seal.filter_program("riscv64")

import nbformat.v4 as nb
from hypothesis import given
from hypothesis import strategies as st

from readingroom.rerun import compare
from readingroom.rerun.compare import Verdict

words = st.text(st.sampled_from("ab 0123456789.-+e\n<>x"), max_size=30)
cells = st.lists(st.tuples(words, st.lists(words, max_size=3)), max_size=4)


def notebook(parts):
    return nb.new_notebook(
        cells=[
            nb.new_code_cell(source, outputs=[nb.new_output("display_data", data={"text/plain": t}) for t in texts])
            for source, texts in parts
        ]
    )


@given(cells)
def test_everything_is_identical_to_itself(parts):
    found = compare.compare(notebook(parts), notebook(parts))
    assert all(c.verdict is Verdict.IDENTICAL for c in found)


@given(words, words)
def test_it_does_not_matter_which_side_is_the_first(left, right):
    assert compare.texts(left, right)[0] is compare.texts(right, left)[0]


@given(st.floats(-1e6, 1e6), st.floats(-1e-7, 1e-7))
def test_small_relative_changes_are_within_tolerance(value, change):
    left, right = f"mean {value:.17g}", f"mean {value * (1 + change):.17g}"
    assert compare.texts(left, right)[0] in {Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE}


@given(st.floats(1, 1e6), st.floats(1e-4, 1))
def test_larger_changes_differ(value, change):
    assert compare.texts(f"mean {value:.17g}", f"mean {value * (1 + change):.17g}")[0] is Verdict.DIFFERS

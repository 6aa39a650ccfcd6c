"""The header table in JupyterLab and Chromium: search by keyboard, difference, whole values, hostile values as text."""

import numpy as np
import pytest
from tests.support.dicom_series import instance, write_series
from tests.support.viewer import in_kernel, open_notebook, themes, until_in_kernel

pytestmark = pytest.mark.browser

LOAD = """import readingroom
first, second = (readingroom.dataset(name).series()[0] for name in ('header-prior', 'header-current'))
table = first.header(second)
table"""


def test_headers_are_searched_and_compared(lab, screen, pictures):
    page, _guard = screen
    pixels = np.zeros((4, 4), np.uint16)
    hostile = "<img src=x onerror='document.title=1'>"
    uids = {
        "FrameOfReferenceUID": "1.2.3.9",
        "ConvolutionKernel": "B30f",
        "KVP": 120,
        "ImageComments": "y" * 500 + "END",
    }
    write_series(lab.data, "header-prior", [instance(pixels, SliceThickness=5, **uids)])
    uids |= {"ConvolutionKernel": "B70f", "PerformedProcedureStepDescription": hostile}
    write_series(lab.data, "header-current", [instance(pixels, SliceThickness=1.25, **uids)])
    open_notebook(page, lab, "headers.ipynb", LOAD)
    root = page.locator(".rr-header").first
    root.scroll_into_view_if_needed()
    shown = root.locator("tbody tr")
    texts = shown.all_inner_texts()
    assert any("Slice Thickness" in t and "5" in t and "1.25" in t for t in texts)
    assert any(hostile in t and "absent" in t for t in texts)
    assert not any("KVP" in t for t in texts)
    assert root.locator("img").count() == 0
    themes(page, root, pictures, "header")

    # By keyboard: the box, what differs or all, the whole of a long value, and the rows.
    search, status = root.get_by_role("searchbox"), root.get_by_role("status")
    search.focus()
    page.keyboard.type("kernel")
    page.wait_for_function("e => e.textContent.startsWith('1 of ')", arg=status.element_handle())
    until_in_kernel(page, "table.search == 'kernel' and [r.element.text for r in table.shown] == ['B30f']")
    in_kernel(page, "table.search = '(0020,4000)'; table.differences = False")
    page.wait_for_function("e => !e.checked", arg=root.get_by_role("checkbox").element_handle())
    whole = root.get_by_role("button", name="The whole value of Image Comments").first
    whole.wait_for()
    assert "END" not in shown.first.inner_text()
    whole.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("e => e.textContent.includes('END')", arg=shown.first.element_handle())
    assert page.evaluate("() => document.activeElement.tagName") == "TD"

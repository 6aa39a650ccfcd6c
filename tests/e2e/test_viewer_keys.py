"""No key that is typed in a control of a view changes the notebook around it, in JupyterLab and in Notebook 7."""

import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.support.dicom_series import ct, phantom, write_index, write_series
from tests.support.lab import fresh_page
from tests.support.viewer import run_all, wait_for_kernel, write_notebook

pytestmark = pytest.mark.browser

RAMP = phantom(6, rows=48, columns=40)
CELLS = (
    """import readingroom
a, b = (readingroom.dataset(name).series()[0] for name in ('keys-a', 'keys-b'))
readingroom.hang([a, b], blink=True)""",
    "a.mpr()",
    "browser = readingroom.dataset('keys-a').browse()\nbrowser.show(0)\nbrowser",
    "documents = readingroom.dataset('keys-sr').browse()\ndocuments.show(0)\ndocuments",
    "readingroom.dataset('keys-sr').series()[0].view()",
    "a.view().histogram()",
    "a.header(b)",
)
# What adds, cuts, pastes, deletes, turns, hides or runs cells, and restarts or interrupts the kernel.
KEYS = ["a", "b", "x", "c", "v", "Shift+V", "d", "d", "m", "y", "r", "1", "l", "o", "0", "0", "i", "i", "z", "Shift+M",
        "s", "Delete", "Backspace", "Shift+Enter", "Control+Enter", "Alt+Enter", "Enter"]  # fmt: skip
CONTROLS = """() => {
  const seen = new Set();
  return [...document.querySelectorAll(".jp-OutputArea-output :is(button, select, input, summary, a, [tabindex])")]
    .filter((one) => one.tabIndex >= 0 && !one.disabled && one.getClientRects().length)
    .filter((one) => {
      const name = one.getAttribute("aria-label") ?? one.textContent;
      const kind = [Boolean(one.closest(".jp-RenderedHTML")), one.localName, one.className, one.type, name].join();
      return !seen.has(kind) && seen.add(kind);
    });
}"""
FOCUSED = "([all, i]) => { all[i].focus(); return document.activeElement === all[i]; }"
NOTEBOOK = """() => {
  const { content, context } = window.jupyterapp.shell.currentWidget;
  const dialogs = document.querySelectorAll(".jp-Dialog").length;
  return JSON.stringify([dialogs, content.mode, [...context.model.cells].map((cell) =>
    [cell.id, cell.type, cell.sharedModel.getSource(), cell.executionCount, JSON.stringify(cell.metadata)])]);
}"""


@pytest.fixture(scope="module", autouse=True)
def series(lab):
    frame = {"FrameOfReferenceUID": "1.2.3.9"}
    write_series(lab.data, "keys-a", list(ct(RAMP, **frame)))
    write_series(lab.data, "keys-b", list(ct(RAMP, **frame)))
    write_series(lab.data, "keys-sr", [pydicom.dcmread(get_testdata_file("test-SR.dcm", download=False))])
    for name in ("keys-a", "keys-sr"):
        write_index(lab.data, name)


@pytest.mark.parametrize("place", ["lab/tree", "notebooks"])
def test_keys_in_a_control_leave_the_notebook_as_it_is(lab, screen, place):
    first, guard = screen
    name = f"keys-{place[:3]}.ipynb"
    write_notebook(lab, name, *CELLS, "print('READY')")
    with fresh_page(first.context.browser, guard) as page:
        page.goto(lab.url(name).replace("/lab/tree/", f"/{place}/"))
        wait_for_kernel(page, name)
        run_all(page)
        for root in (".rr-hang", ".rr-browse", ".rr-sr", ".rr-histogram", ".rr-header"):
            page.locator(root).first.wait_for(state="attached")
        page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.mode = 'command'; }")
        controls = page.evaluate_handle(CONTROLS)
        before, tried = page.evaluate(NOTEBOOK), []
        for number in range(page.evaluate("all => all.length", controls)):
            tried.append(page.evaluate("([all, i]) => all[i].outerHTML.slice(0, 200)", [controls, number]))
            for key in KEYS:
                # Anew: some keys give the focus to what they have opened, or take the control away.
                if not page.evaluate(FOCUSED, [controls, number]):
                    break
                page.keyboard.press(key)
            assert page.evaluate(NOTEBOOK) == before, tried[-1]
        for text in ("Same place", "Alternate", "Length", "Search", "<summary data-lm", "rr-tile"):
            assert any(text in one for one in tried), (text, tried)

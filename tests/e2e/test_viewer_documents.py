"""Waveforms, documents and reports in JupyterLab and Chromium."""

import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.support.dicom_series import write_series
from tests.support.encapsulated import encapsulated, pdf
from tests.support.lab import fresh_page
from tests.support.viewer import in_each_theme, in_kernel, open_notebook, photograph, serious, until_in_kernel

pytestmark = pytest.mark.browser

LOAD = """import readingroom
def view_of(name): return readingroom.dataset(name).series()[0].view()"""
ALL = "ecg, pages, report = map(view_of, ('ecg', 'pdf', 'sr'))"
COLOUR = """img => { const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d'); context.drawImage(img, 0, 0, 1, 1);
  return Array.from(context.getImageData(0, 0, 1, 1).data).slice(0, 3); }"""


def of(name):
    return pydicom.dcmread(get_testdata_file(name, download=False))


def says(page, sheet, text):
    """Wait until the sheet says it, and has drawn it."""
    page.wait_for_function(
        "([root, text]) => root.querySelector('[role=status]').textContent.startsWith(text)"
        " && root.querySelector('img').complete && !root.hasAttribute('aria-busy')",
        arg=[sheet.element_handle(), text],
    )


def test_what_is_no_picture_is_shown_too(lab, screen, tmp_path, pictures):
    data, (page, _guard) = lab.data, screen
    write_series(data, "ecg", [of("waveform_ecg.dcm")])
    write_series(data, "pdf", [encapsulated(pdf(["red", "lime", "blue"]))])
    write_series(data, "sr", [of("test-SR.dcm")])
    open_notebook(
        page,
        lab,
        "documents.ipynb",
        f"{LOAD}\necg, pages, report = map(view_of, ('ecg', 'pdf', 'sr'))\necg",
        "pages",
        "report",
    )
    ecg, pages = (page.locator(".rr-sheet").nth(n) for n in range(2))
    ecg.scroll_into_view_if_needed()
    says(page, ecg, "RHYTHM, 0 to 10 s of 10 s: Lead I (Einthoven), Lead II")
    light = ecg.locator("img").evaluate(COLOUR)
    for theme in in_each_theme(page):
        page.wait_for_function(
            f"([img, light]) => {{ const of = {COLOUR}; return img.complete && (of(img)[2] < 128) === !light; }}",
            arg=[ecg.locator("img").element_handle(), theme == "Light"],
        )
        photograph(ecg, pictures / f"waveform-{theme.lower()}.png")
    assert ecg.locator("img").evaluate(COLOUR) == light

    # By keyboard alone: less of it, later, higher; the other group.
    ecg.get_by_role("group").focus()
    for key in ["+"] * 12 + ["ArrowRight"] * 4 + ["ArrowUp"] * 4:
        page.keyboard.press(key)
    says(page, ecg, "RHYTHM, 2 to 6 s of 10 s")
    until_in_kernel(page, "(ecg.start, ecg.seconds, ecg.gain) == (2.0, 4.0, 2.0)")
    page.keyboard.press("]")
    says(page, ecg, "MEDIAN BEAT, 0 to 1.2 s of 1.2 s")
    ecg.get_by_role("slider", name="Group").fill("0")
    says(page, ecg, "RHYTHM")
    in_kernel(page, "ecg.start = 6")
    says(page, ecg, "RHYTHM, 6 to 10 s")
    assert serious(page, ecg, 5) == {}

    # The file may no longer be read: no picture stays, and a sentence says why. A new grant brings it back.
    (path,) = data.glob("ecg/*/*/*.dcm")
    hidden = path.parent.rename(path.parent.with_name("hidden"))
    says(page, ecg, str(path.parent))
    assert ecg.locator("img[src]").count() == 0
    hidden.rename(path.parent)
    ecg.get_by_role("group").focus()
    page.keyboard.press("ArrowUp")
    says(page, ecg, "RHYTHM, 6 to 10 s")
    assert ecg.locator("img[src]").count() == 1

    pages.scroll_into_view_if_needed()
    pages.get_by_role("group").focus()
    for number, colour in enumerate([[255, 0, 0], [0, 255, 0], [0, 0, 255]], start=1):
        says(page, pages, f"Page {number} of 3")
        assert pages.locator("img").evaluate(COLOUR) == colour
        page.keyboard.press("PageDown")
    assert serious(page, pages, 5) == {}

    report = page.locator(".rr-sr")
    folded = report.locator("summary", has_text="Diameter")
    leaf = folded.locator("xpath=../ul/li")
    assert not leaf.is_visible()
    folded.focus()
    page.keyboard.press("Enter")
    leaf.wait_for(state="visible")
    assert serious(page, report, 0) == {}
    for theme in in_each_theme(page):
        report.screenshot(path=tmp_path / f"report-{theme}.png")


def test_a_kernel_that_is_gone_is_told(lab, screen):
    write_series(lab.data, "gone", [of("waveform_ecg.dcm")])
    first, guard = screen
    with fresh_page(first.context.browser, guard) as page:
        page.clock.install()
        open_notebook(page, lab, "gone.ipynb", f"{LOAD}\nview_of('gone')")
        sheet = page.locator(".rr-sheet")
        says(page, sheet, "RHYTHM")
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown()")
        sheet.get_by_role("group").focus()
        page.keyboard.press("ArrowUp")
        page.clock.run_for(20_000)
        says(page, sheet, "The kernel does not answer")
        assert sheet.locator("img[src]").count() == 0

"""The viewer in a page of JupyterLab, as its user sees it, and notebooks to put it in."""

import importlib.resources
import json
import os
import re
from contextlib import contextmanager

import numpy as np
from PIL import Image
from tests.support.receivers import until

PIXELS = """canvas => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, Array.from(data.data)];
}"""


class Viewer:
    """The view in the page, as its user sees it."""

    def __init__(self, page, count, root=None):
        self.page = page
        self.count = count
        self.root = root or page.locator(".rr-view").first
        self.stage = self.root.locator(".rr-stage")
        self.canvas = self.root.locator("canvas")

    def colours(self):
        """(rows, columns, 3) of uint8."""
        rows, columns, flat = self.canvas.evaluate(PIXELS)
        colours = np.array(flat, np.uint8).reshape(rows, columns, 4)
        assert (colours[..., 3] == 255).all()
        return colours[..., :3]

    def pixels(self):
        """(rows, columns) of uint8, where nothing is coloured."""
        colours = self.colours()
        assert (colours[..., :1] == colours).all()
        return colours[..., 0]

    def status(self):
        return self.root.locator(".rr-status").inner_text()

    def wait(self, index):
        """Wait until slice `index` is said to be on the screen; answer its pixels."""
        self.arrive(index)
        return self.pixels()

    def arrive(self, index):
        """Wait until slice `index` is said to be on the screen."""
        self.page.wait_for_function(
            "([stage, index]) => stage.dataset.slice === String(index)", arg=[self.stage.element_handle(), index]
        )
        self.page.wait_for_function(
            "([root, text]) => root.querySelector('.rr-status').textContent.startsWith(text)",
            arg=[self.root.element_handle(), f"slice {index + 1} of {self.count},"],
        )

    def says(self, text, *, start=False):
        self.page.wait_for_function(
            "([root, text, start]) => { const said = root.querySelector('.rr-status').textContent;"
            " return start ? said.startsWith(text) : said.includes(text); }",
            arg=[self.root.element_handle(), text, start],
        )

    def at(self, row, column):
        """Where a place among the pixels, in rows and columns with 0 at the picture's edge, lies in the page."""
        box = self.canvas.bounding_box()
        rows, columns = self.canvas.evaluate("canvas => [canvas.height, canvas.width]")
        return box["x"] + column / columns * box["width"], box["y"] + row / rows * box["height"]

    def drag(self, *places):
        """Press at the first place and let go at the last; of one place, click."""
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=6)
        self.page.mouse.up()

    def marks(self, count):
        """Wait until so many measurements are drawn over the picture."""
        self.page.wait_for_function(
            "([root, count]) => root.querySelectorAll('.rr-mark').length === count",
            arg=[self.root.element_handle(), count],
        )

    def announces(self, text):
        """Wait until this has been said to a screen reader."""
        self.page.wait_for_function(
            "([root, text]) => root.querySelector('.rr-said').textContent.includes(text)",
            arg=[self.root.element_handle(), text],
        )

    def window(self):
        found = re.search(r"W (\S+) L (\S+?)(,|$)", self.status())
        return float(found[2]), float(found[1])


def write_notebook(lab, name, *sources):
    """A new notebook of these cells beside the others."""
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for i, source in enumerate(sources)
    ]
    meta = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    text = json.dumps({"cells": cells, "metadata": meta, "nbformat": 4, "nbformat_minor": 5})
    (lab.folder / name).write_text(text)


def open_notebook(page, lab, name, *sources):
    """Open a new notebook of these cells, run it all, and wait until the last cell has said READY."""
    write_notebook(lab, name, *sources, "print('READY')")
    show_notebook(page, lab, name)
    run_all(page)


def run_all(page):
    """Run the open notebook, and wait until a cell has said READY."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output", has_text="READY").wait_for(
        state="attached", timeout=60_000
    )


def show_notebook(page, lab, name):
    """Open a notebook that is there, alone, and wait until its kernel is idle.

    A page that shows JupyterLab already is kept: to load it takes longer than all else."""
    if page.evaluate("() => Boolean(window.jupyterapp)"):
        page.evaluate(
            "name => { const { shell, commands } = window.jupyterapp;"
            " for (const one of [...shell.widgets('main')]) one.dispose();"
            " commands.execute('docmanager:open', { path: name }); }",
            name,
        )
    else:
        page.goto(lab.url(name))
    wait_for_kernel(page, name)


def wait_for_kernel(page, name):
    """Wait until the notebook is open and its kernel idle."""
    page.wait_for_function(
        "name => { const context = window.jupyterapp?.shell.currentWidget?.context;"
        " return context?.isReady && context.path === name"
        " && context.sessionContext?.session?.kernel?.status === 'idle'; }",
        arg=name,
        timeout=60_000,
    )


def in_kernel(page, code):
    """Run code in the open notebook's kernel, and wait until it is done."""
    status = page.evaluate(
        "code => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code }).done"
        ".then(reply => reply.content.status)",
        code,
    )
    assert status == "ok"


@contextmanager
def kernel_held(page, folder):
    """The kernel in C code that keeps the interpreter to itself: none of its threads runs until this ends."""
    pipe, begun = folder / "pipe", folder / "begun"
    os.mkfifo(pipe)
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    code = f"import ctypes\nopen({str(begun)!r}, 'w').close()\nctypes.PyDLL(None).open({str(pipe)!r}.encode(), 0)"
    page.evaluate(
        f"code => {{ window.over = false; {kernel}.requestExecute({{ code }}).done"
        ".finally(() => { window.over = true; }); }",
        code,
    )
    try:
        until(begun.exists)
        yield
        assert not page.evaluate("() => window.over")
    finally:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    page.wait_for_function("() => window.over")


def until_in_kernel(page, condition):
    """Wait until a condition is true in the kernel: what the browser tells it may come after the next code."""
    page.wait_for_function(
        "async code => (await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
        ".requestExecute({ code }).done).content.status === 'ok'",
        arg=f"assert {condition}",
        polling=100,
    )


def in_each_theme(page):
    """`Dark`, then `Light`, each while JupyterLab is drawn in it; the page stays light."""
    for theme in ("Dark", "Light"):
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", f"JupyterLab {theme}"
        )
        page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower()
        )
        page.locator("#jupyterlab-splash").wait_for(state="detached")
        yield theme


def serious(page, root, passes=10):
    """What axe-core finds wrong with `root`, seriously or worse, by theme and rule. More rules than `passes` fit."""
    page.add_script_tag(content=(importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text())
    found = {}
    for theme in in_each_theme(page):
        result = page.evaluate("root => window.axe.run(root)", root.element_handle())
        assert len(result["passes"]) > passes
        found |= {
            (theme, one["id"]): [node["html"] + node["failureSummary"] for node in one["nodes"]]
            for one in result["violations"]
            if one["impact"] in {"serious", "critical"}
        }
    return found


def themes(page, root, folder, name):
    """Pictures of `root` in light and in dark, small enough for the documentation; the page stays light."""
    for theme in in_each_theme(page):
        photograph(root, folder / f"{name}-{theme.lower()}.png")


def photograph(root, path):
    """A picture of `root`, small enough for the documentation."""
    root.screenshot(path=path)
    with Image.open(path) as taken:
        small = taken.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(path, optimize=True)

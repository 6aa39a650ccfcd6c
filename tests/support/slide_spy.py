"""A view of a whole slide whose messages to the browser are kept instead of sent."""

from readingroom.viewers.slide import SlideView


class Spy(SlideView):
    """What the browser would get."""

    def send(self, content, buffers=None):
        self.sent = content, buffers


def asked(view, **content):
    """(content, buffers) that the browser gets for what it asks."""
    view._answer(view, {"n": "a-1", **content}, [])
    return view.sent

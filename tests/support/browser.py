"""A browser without a screen: follows redirects, fills in the forms of the demo's identity provider."""

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import requests

from readingroom_hub.demo.identity import DemoPerson


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict] = []

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "form":
            self.forms.append({"action": a.get("action"), "method": (a.get("method") or "get").lower(), "fields": {}})
        elif tag in {"input", "button"} and self.forms and a.get("name"):
            self.forms[-1]["fields"].setdefault(a["name"], a.get("value") or "")


def forms_in(text: str) -> list[dict]:
    parser = _Forms()
    parser.feed(text)
    return parser.forms


class HttpBrowser(requests.Session):
    """`ca`: what to trust. The machine's own proxy and certificate settings are ignored."""

    def __init__(self, ca: str) -> None:
        super().__init__()
        self.verify = ca
        self.trust_env = False

    def submit(self, answer: requests.Response, field: str, **values: str) -> requests.Response:
        """Send the form that has `field`, filled in."""
        form = next(f for f in forms_in(answer.text) if field in f["fields"])
        url = urljoin(answer.url, form["action"] or answer.url)
        origin = "{}://{}".format(*urlsplit(url)[:2])
        headers = {"Origin": origin, "Referer": answer.url}
        return self.request(form["method"], url, data={**form["fields"], **values}, headers=headers)

    def sign_in(self, hub: str, person: DemoPerson, code: str | None = None) -> requests.Response:
        """The whole way from the hub's start page to wherever it ends; `code` is the second factor."""
        answer = self.get(f"{hub}/hub/oauth_login?next=%2Fhub%2Fhome")
        answer = self.submit(answer, "login", login=person.user_name)
        answer = self.submit(answer, "password", password=person.password)
        if 'name="otp"' in answer.text:
            answer = self.submit(answer, "otp", otp=code or person.fresh_code())
        if 'name="answer"' in answer.text:
            answer = self.submit(answer, "answer", answer="accept")
        return answer

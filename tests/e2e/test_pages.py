"""The hub's and the portal's pages in a real browser: sign-in, light and dark, by keyboard, no console error."""

import importlib.resources
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.support.hub_room import HubRoom, running_room
from tests.support.node_world import fingerprint
from tests.support.receivers import Authority

from readingroom_hub import compose
from readingroom_hub.adapters.audit_head import Head
from readingroom_hub.adapters.audit_node_wire import Repository, Wire
from readingroom_hub.errors import Denied
from readingroom_hub.model.alert import Alert, Sign
from readingroom_hub.model.approval import Act, State
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion, WrappedKey
from readingroom_hub.model.ids import DatasetName, KeyId, ProjectId, SessionId, VersionDigest
from readingroom_hub.policy.alerts import alert_id
from readingroom_hub.policy.approval import described
from readingroom_hub.ports.reception import TlsFiles

pytestmark = pytest.mark.browser

NODES = ("node-2.example", "node-3.example")
"""Of the first the repository has heard once; both are away."""
CHEST, BRAIN = ProjectId("chest-ct"), ProjectId("brain-mr")
CARD = """{"edition": "2026d", "options": ["Retain Longitudinal Temporal Information With Modified Dates"],
"changed": {"elements removed": 5321, "UIDs replaced": 1840}, "left out": [{"object": "IM_0021",
"reason": "burnt-in text found: 2 words"}, {"object": "IM_0107", "reason": "SOP class not allowed by the policy"}]}"""
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    authority, listed = Authority(tmp_path_factory.mktemp("nodes") / "authority"), tmp_path_factory.mktemp("list") / "l"
    (here, mine), *nodes = [authority.issue(name, name, "localhost") for name in ("repository", *NODES)]
    listed.write_text("".join(f"{n} {fingerprint(cert)}\n" for n, (cert, _) in zip(NODES, nodes, strict=True)))
    files = {"audit_tls_cert_file": here, "audit_tls_key_file": mine, "audit_tls_ca_file": authority.ca}
    listens = {"audit_listen": "127.0.0.1:0", "audit_nodes_file": listed}
    with running_room(tmp_path_factory.mktemp("room"), **listens, **files) as running:
        _fill(running)
        said = (running.settings.paths.logs / "audit.log").read_text()
        port = int(re.findall(r"records of nodes at 127\.0\.0\.1:(\d+)", said)[-1])
        wire = Wire(Repository("localhost", port, TlsFiles(*nodes[0], authority.ca)))
        wire.ask(Head(f"mount-daemon@{NODES[0]}", "e", first=0, next=12, left=0))
        wire.close()
        yield running


def _fill(room: HubRoom) -> None:
    """Two projects, two dataset versions, a grant that runs, one withdrawn, and reads of every kind."""
    s = room.settings
    audit = compose.audit(s, "test")
    catalogue, projects, grants = compose.open_catalogue(s), compose.projects(s, audit), compose.grants(s, audit)
    by = audit.identify("test", "owner", "Dr Olga Owner")
    rosa = audit.identify(s.oidc_issuer, "rosa", "Rosa Rossi")
    now = datetime.now(UTC)
    projects.create(CHEST, "Lung nodules in chest CT", "Dr Olga Owner", now + timedelta(days=400), by)
    projects.create(BRAIN, "White matter lesions", "Dr Otto Owner", None, by)
    for project, name, digit, count in ((CHEST, "lung-nodules", "a", 1204), (BRAIN, "flair", "b", 96)):
        key = WrappedKey(KeyId.new(), "kek-1", b"wrapped")
        digest = VersionDigest("sha256:" + digit * 64)
        version = DatasetVersion(
            digest, project, DatasetName(name), key.id, count, 12, 6, count * 526_338, now, CARD
        )  # fmt: skip
        catalogue.versions.publish(version, key)
        grants.issue(project, name, now + timedelta(days=90), by)
    grants.revoke(grants.issue(CHEST, "flair", now + timedelta(days=9), by).id, by)
    about = {"person": rosa, "project": CHEST, "session": SessionId("s-" + "1" * 24)}
    subject = {"dataset": "lung-nodules", "version": "sha256:" + "a" * 64, "study": "2.25.1"}
    for number in range(3):
        where = subject | {"series": f"2.25.30418223405520483620193475028374{number}"}
        intent = AuditRecord(AuditEvent.READ_INTENT, subject=where | {"instances": 120, "bytes": 63160560}, **about)
        records = [intent]
        closes = [[f"2.25.9{i}", 526338, 526338, number == 1 and i == 3] for i in range(12)]
        for i in range(12):
            one = where | {"instance": f"2.25.9{i}", "intent": intent.id}
            claims = {"notebook": "01-first-look.ipynb", "cell": "7"} if number else {}
            records.append(AuditRecord(AuditEvent.INSTANCE_OPENED, subject=one, claims=claims, **about))
        if number != 2:
            end = where | {
                "intent": intent.id,
                "instances": 12,
                "bytes": 12 * 526338,
                "closes": closes,
                "concluded": 12,
            }
            records.append(AuditRecord(AuditEvent.READ_COMPLETED, subject=end, **about))
        audit.append(records)
    opinion = "The isolation forest agrees: of 500 days of everybody, 0 are at least as unusual."
    sign = Sign("studies", 41, 3, 8.2, "read 41 studies on one day; their median is 3 studies (of 58 days)")
    for person in (rosa, by):
        rules = ("studies", "together")
        alert = Alert(alert_id(person, now.date(), rules), person, now.date(), rules, (sign,), opinion, (CHEST,))
        subject_of = alert.to_subject() | {"suspended": False}
        audit.append([AuditRecord(AuditEvent.ACCESS_ALERT, person=person, subject=subject_of, id=alert.id)])
    compose.holds(s, audit).suspend(by, "rule studies", None)
    reason = "grant-revoked: access to this dataset was withdrawn; ask a data steward"
    refused = {"dataset": "flair", "version": "sha256:" + "b" * 64, "path": "flair/2.25.7/2.25.8/2.25.9.dcm"}
    audit.append([AuditRecord(AuditEvent.READ_DENIED, Outcome.DENIED, reason=reason, subject=refused, **about)])


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


def sign_in(chromium: Browser, room: HubRoom, name: str, scheme: str) -> tuple[Page, list[str]]:
    """A signed-in page, and a list that fills with what its console complains about."""
    person = room.people[name]
    context = chromium.new_context(
        ignore_https_errors=True, color_scheme=scheme, viewport={"width": 1280, "height": 860}
    )  # fmt: skip
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.goto(room.url + "/hub/home")
    page.screenshot(path=room.settings.state / f"login-{scheme}.png")
    assert page.get_by_role("link", name="Sign in with your institution").evaluate("e => e === document.activeElement")
    page.keyboard.press("Enter")
    page.fill("input[name=login]", person.user_name)
    page.keyboard.press("Enter")
    page.fill("input[name=password]", person.password)
    page.keyboard.press("Enter")
    page.fill("input[name=otp]", person.fresh_code())
    page.keyboard.press("Enter")
    accept = page.locator("button[value=accept], h1")
    accept.first.wait_for()
    if page.locator("button[value=accept]").count():
        page.click("button[value=accept]")
    page.get_by_role("heading", name="My projects").wait_for()
    page.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
    return page, complaints


CONTRAST = """() => {
  const parse = (c) => (c.match(/[0-9.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const f = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll("main *, header *, footer *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.offsetParent) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${e.tagName} ${e.textContent.trim().slice(0, 40)}`);
  }
  return bad;
}"""


def looks_right(page: Page, complaints: list[str], room: HubRoom, name: str) -> None:
    """No complaint, no sideways scrolling, readable contrast (WCAG 2.2 success criterion 1.4.3)."""
    page.screenshot(path=room.settings.state / f"{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    assert page.evaluate(CONTRAST) == [], name
    assert complaints == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_researcher_sees_projects(chromium, room, scheme):
    page, complaints = sign_in(chromium, room, "rosa", scheme)
    card = page.locator("[data-project=chest-ct]")
    assert "lung-nodules@aaaaaaaaaaaa" in card.inner_text()
    assert page.locator("[data-project]").count() == 1
    looks_right(page, complaints, room, f"home-{scheme}")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_steward_looks_at_everything(chromium, room, scheme):
    page, complaints = sign_in(chromium, room, "sam", scheme)
    page.get_by_role("link", name="Stewardship").click()
    page.get_by_role("link", name="Reads").click()
    assert page.locator("tbody tr").count() == 4
    assert page.locator("tr.denied").count() == 1
    missing = page.get_by_label("What is not in here yet")
    assert f"{NODES[0]} has not been heard since" in missing.inner_text()
    assert ": 12 records that it announced by then, and what was read there since, are not" in missing.inner_text()
    assert missing.locator("li").count() == 2
    looks_right(page, complaints, room, f"reads-{scheme}")
    for name in ("Unusual access", "Access grants", "Approvals", "Datasets", "Projects"):
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("heading", name=name, exact=True).wait_for()
        for summary in page.locator("summary").all():
            summary.click()
        looks_right(page, complaints, room, f"{name.split()[-1].lower()}-{scheme}")
    page.set_viewport_size({"width": 390, "height": 800})
    for path in ("reads", "alerts", "grants"):
        page.goto(f"{room.url}/services/portal/{path}")
        looks_right(page, complaints, room, f"narrow-{path}-{scheme}")
    page.context.close()


def test_a_researcher_starts_and_stops_a_server(chromium, room):
    page, _ = sign_in(chromium, room, "rita", "dark")
    page.get_by_role("link", name="Start the server of Lung nodules in chest CT").click()
    page.wait_for_url("**/spawn-pending/**")
    page.screenshot(path=room.settings.state / "starting-dark.png")
    page.wait_for_url("**/user/*/chest-ct/**", timeout=60_000)
    page.goto(room.url + "/hub/home")
    assert page.locator("[data-project=chest-ct] .tag").inner_text() == "running"
    assert page.get_by_role("link", name="Open").get_attribute("href").endswith("/chest-ct/")
    page.screenshot(path=room.settings.state / "running-dark.png")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("link", name="Start the server of").wait_for(timeout=60_000)
    page.goto(room.url + "/hub/home/nowhere")
    page.get_by_role("heading", name="There is no such page").wait_for()
    page.get_by_role("link", name="Sign out").first.click()
    page.get_by_role("link", name="Sign in with your institution").wait_for()
    page.context.close()


def test_a_steward_gives_and_withdraws_access_by_keyboard(chromium, room):
    page, complaints = sign_in(chromium, room, "sam", "light")
    page.goto(room.url + "/services/portal/grants")
    before = page.get_by_text("✓ current").count()
    page.select_option("select[name=project]", BRAIN)
    page.select_option("select[name=version]", "sha256:" + "a" * 64)
    page.fill("input[name=until]", f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}")
    page.get_by_role("button", name="Give access").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Access is given and on the record.").wait_for()
    assert page.get_by_text("✓ current").count() == before + 1
    page.get_by_role("link", name="Withdraw lung-nodules from brain-mr").click()
    looks_right(page, complaints, room, "revoke-light")
    page.get_by_role("button", name="Withdraw access now").press("Enter")
    page.get_by_text("Access is withdrawn and on the record.").wait_for()
    assert page.get_by_text("✓ current").count() == before
    page.context.close()


def accessible(page: Page) -> None:
    """axe-core finds nothing serious. It is evaluated, since the page's policy lets no script in."""
    page.evaluate((importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text())
    result = page.evaluate("window.axe.run(document, { preload: false })")
    assert len(result["passes"]) > 10
    bad = [v for v in result["violations"] if v["impact"] in {"serious", "critical"}]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in bad] == []


def test_two_stewards_approve_by_keyboard_what_destroys_for_ever(chromium, room):
    """Each signed in; the first in the light, the second in the dark."""
    audit = compose.audit(room.settings, "test")
    approvals, by = compose.approvals(audit), audit.identify("local", "uid:0", "root")
    concerns = [described(v) for v in compose.open_catalogue(room.settings).versions.all()]
    asked = approvals.ask(Act.DESTROY_KEY, "kek-1", concerns, "The ethics approval was withdrawn", by)
    with pytest.raises(Denied, match="0 of 2"):
        approvals.approved(Act.DESTROY_KEY, "kek-1", concerns, by)
    for name, scheme in (("sam", "light"), ("sonja", "dark")):
        page, complaints = sign_in(chromium, room, name, scheme)
        page.goto(room.url + "/services/portal/approvals")
        looks_right(page, complaints, room, f"approvals-{scheme}")
        accessible(page)
        page.get_by_role("link", name="Read what it means: Destroy the key kek-1").press("Enter")
        page.get_by_role("heading", name="Destroy the key kek-1").wait_for()
        assert [t for t in concerns if page.get_by_text(t).count() != 1] == []
        looks_right(page, complaints, room, f"approval-{scheme}")
        accessible(page)
        page.set_viewport_size({"width": 390, "height": 800})
        looks_right(page, complaints, room, f"narrow-approval-{scheme}")
        page.get_by_role("button", name="I have read it and approve it").press("Enter")
        page.get_by_text("Approved, and on the record.").wait_for()
        page.context.close()
    found = approvals.approved(Act.DESTROY_KEY, "kek-1", concerns, by)
    people = {p.person: p.name for p in audit.people("")}
    assert [people[p] for p in found.given_by] == ["Sam Steward", "Sonja Steward"]
    assert found.id == asked.id
    assert found.state(datetime.now(UTC)) is State.APPROVED

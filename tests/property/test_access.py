"""`decide` against a second, plain reading of the rules."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import DatasetName, GrantId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Project
from readingroom_hub.model.session import Session
from readingroom_hub.policy.access import Allow, Deny, DenyCode, Standing, decide, refuse_name, visible

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PERSON = PersonId("p-" + "0" * 64)
PROJECTS = [ProjectId("lung"), ProjectId("brain")]
VERSIONS = [VersionDigest("sha256:" + c * 64) for c in "abc"]
DATASETS = {VERSIONS[0]: DatasetName("ct"), VERSIONS[1]: DatasetName("ct"), VERSIONS[2]: DatasetName("mr")}
moments = st.integers(0, 40).map(lambda n: T0 + timedelta(minutes=n))
seldom = st.one_of(st.none(), st.none(), st.none(), moments)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    start = T0 + timedelta(minutes=draw(st.integers(-20, 30)))
    version = draw(st.sampled_from(VERSIONS))
    end = start + timedelta(minutes=draw(st.integers(1, 60)))
    revoked = draw(st.none() | st.integers(0, 60).map(lambda n: start + timedelta(minutes=n)))
    project = draw(st.sampled_from([PROJECTS[0], PROJECTS[0], PROJECTS[1]]))
    return Grant(
        GrantId.new(), project, DATASETS[version], version, end, PERSON, start, revoked, PERSON if revoked else None
    )


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    opened = T0 + timedelta(minutes=draw(st.integers(-20, 10)))
    expires = opened + timedelta(minutes=draw(st.integers(10, 90)))
    session = Session(SessionId.new(), PERSON, PROJECTS[0], opened, expires, draw(seldom))
    project = Project(PROJECTS[0], "t", "Dr O", T0, draw(seldom))
    return Standing(session, project, tuple(draw(st.lists(grants(), min_size=1, max_size=6))))


@given(standings(), st.sampled_from(VERSIONS), moments)
def test_reading_is_allowed_exactly_by_an_open_session_and_a_current_grant(
    standing: Standing, version: VersionDigest, now: datetime
) -> None:
    s, p = standing.session, standing.project
    alive = s.closed_at is None and s.opened_at <= now < s.expires_at and (p.ends_at is None or now < p.ends_at)
    current = {
        g.id
        for g in standing.grants
        if g.project == s.project and g.version == version and g.revoked_at is None and g.created_at <= now < g.ends_at
    }
    decision = decide(standing, version, now)
    if alive and current:
        assert isinstance(decision, Allow)
        assert decision.grant.id in current
        assert now < decision.until <= min(decision.grant.ends_at, s.expires_at, p.ends_at or s.expires_at)
        between = decide(standing, version, now + (decision.until - now) / 2)
        assert isinstance(between, Allow)  # so that it need not be asked again before `until`
        assert between.grant.created_at >= decision.grant.created_at
        after = decide(standing, version, decision.until)
        assert isinstance(after, Deny) or after.grant != decision.grant
    else:
        assert isinstance(decision, Deny)
        assert decision.sentence.endswith(".")


@given(standings(), moments)
def test_every_visible_name_is_an_allowed_version_and_every_allowed_version_has_one_name(
    standing: Standing, now: datetime
) -> None:
    names = visible(standing, now)
    for name, allow in names.items():
        assert decide(standing, allow.grant.version, now) == allow
        assert name.partition("@")[0] == allow.grant.dataset
    allowed = [v for v in VERSIONS if isinstance(decide(standing, v, now), Allow)]
    assert sorted(a.grant.version for a in names.values()) == sorted(allowed)


@given(standings(), moments)
def test_the_newest_grant_has_the_plain_name(standing: Standing, now: datetime) -> None:
    names = visible(standing, now)
    for name, allow in names.items():
        if "@" in name:
            plain = names[name.partition("@")[0]]
            assert plain.grant.created_at >= allow.grant.created_at


@given(standings(), st.sampled_from(["ct", "mr", "other", f"ct@{VERSIONS[0].short}"]), moments)
def test_what_is_not_visible_is_refused_with_a_reason(standing: Standing, name: str, now: datetime) -> None:
    if name in visible(standing, now):
        return
    refusal = refuse_name(standing, name, now)
    had = [
        g
        for g in standing.grants
        if g.project == standing.session.project
        and g.created_at <= now
        and name in {g.dataset, f"{g.dataset}@{g.version.short}"}
    ]
    if refusal is None:
        assert any(g.is_current(now) for g in had)  # there, under its other name
    elif refusal.code in {DenyCode.GRANT_REVOKED, DenyCode.GRANT_EXPIRED}:
        assert had
    elif refusal.code == DenyCode.NOT_GRANTED:
        assert not had

"""Why an attribute was changed: the row of PS3.15 Table E.1-1 and the option or profile that decided."""

import re

from pydicom.datadict import tag_for_keyword

from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.colour_profiles import ICC_PROFILE
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.table import Option, Rule, table

_NUMBER = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)")


def reason(policy: Policy, keyword: str, action: Action) -> str:
    """One line for the report: `keyword` (or tag, as `table.keyword` gives it) got `action` because of this."""
    tag = _tag(keyword)
    rule = table().rule(tag)
    if tag == ICC_PROFILE:
        return "not in Table E.1-1; what colours need of it is kept, and nothing that describes"
    if (tag >> 16) & 1:
        return "PS3.15 E.3.10: a private element; kept only where it is known to be safe"
    if action is Action.PAD:
        return "the policy's images.cut_short: the file ended before them"
    if action is Action.DEFACE:
        return "PS3.15 E.3.2, Clean Recognizable Visual Features: the face was cut away, the brain untouched"
    if action is Action.CAP:
        return "45 CFR 164.514(b)(2)(i)(C): ages over 89"
    return _listed(policy, rule, action) if rule else _unlisted(action)


def _listed(policy: Policy, rule: Rule, action: Action) -> str:
    if option := _option(policy, rule, action):
        return f"PS3.15 Table E.1-1, {option.standard_name}: {rule.options[option]}"
    if action is Action.CLEAN:
        return "kept by an option; its text held an identifier"
    one = "; one keyed pseudonym for each patient" if action is Action.PSEUDONYM else ""
    return f"PS3.15 Table E.1-1, basic profile: {rule.basic}{one}"


def _option(policy: Policy, rule: Rule, action: Action) -> Option | None:
    if action not in {Action.CLEAN, Action.SHIFT}:
        return None
    return next((o for o in sorted(policy.options) if rule.options.get(o) == "C"), None)


def _unlisted(action: Action) -> str:
    if action is Action.UID:
        return "PS3.15 E.1.1: a UID of an object, replaced everywhere alike"
    if action is Action.CLEAN:
        return "not in Table E.1-1; its text held an identifier"
    if action is Action.REMOVE:
        return "not in Table E.1-1 and nobody knows what it holds, or it has no place in a data set"
    return "not in Table E.1-1; a date, or a content item's value (Table E.3.4-1)"


def _tag(keyword: str) -> int:
    found = _NUMBER.fullmatch(keyword)
    if found:
        return int(found[1] + found[2], 16)
    return tag_for_keyword(keyword) or 0

"""Whether JSON is an AuditEvent of FHIR R4 (hl7.org/fhir/R4/auditevent.html): every element, its cardinality and type.

FHIR's own JSON schema of 4 MB says the same of this one resource."""

import re

_STRING = re.compile(r"[ \r\n\t\S]+", re.ASCII)
_PRIMITIVE = {
    "string": _STRING,
    "uri": re.compile(r"\S*"),
    "code": re.compile(r"[^\s]+(\s[^\s]+)*"),
    "instant": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "action": re.compile(r"[CRUDE]"),
    "outcome": re.compile(r"0|4|8|12"),
    "AuditEvent": re.compile(r"AuditEvent"),
    "extension": re.compile(r"http://hl7\.org/fhir/StructureDefinition/auditevent-(Instance|NumberOfInstances)"),
}
_TYPES = {
    "Coding": {"system": "uri", "version": "string", "code": "code", "display": "string"},
    "CodeableConcept": {"coding": "Coding*", "text": "string"},
    "Identifier": {"system": "uri", "value": "string"},
    "Reference": {"reference": "string", "type": "uri", "identifier": "Identifier", "display": "string"},
    "Extension": {"url": "extension!", "valueInteger": "integer", "valueIdentifier": "Identifier"},
    "Detail": {"type": "string!", "valueString": "string!"},
    "Agent": {
        "type": "CodeableConcept",
        "role": "CodeableConcept*",
        "who": "Reference",
        "altId": "string",
        "name": "string",
        "requestor": "boolean!",
        "policy": "uri*",
    },
    "Source": {"site": "string", "observer": "Reference!", "type": "Coding*"},
    "Entity": {
        "extension": "Extension*",
        "what": "Reference",
        "type": "Coding",
        "role": "Coding",
        "lifecycle": "Coding",
        "name": "string",
        "detail": "Detail*",
    },
    "Resource": {
        "resourceType": "AuditEvent!",
        "type": "Coding!",
        "subtype": "Coding*",
        "action": "action",
        "recorded": "instant!",
        "outcome": "outcome",
        "outcomeDesc": "string",
        "agent": "Agent+",
        "source": "Source!",
        "entity": "Entity*",
    },
}


def check_audit_event(found, type="Resource", at="AuditEvent"):
    """Raises ValueError naming what is wrong."""
    if type == "boolean":
        _ask(found is True or found is False, at, "is no boolean")
    elif type == "integer":
        _ask(isinstance(found, int) and not isinstance(found, bool), at, "is no integer")
    elif type in _PRIMITIVE:
        _ask(isinstance(found, str) and _PRIMITIVE[type].fullmatch(found), at, f"is no {type}: {found!r:.80}")
        _ask(not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", found), at, "has a control character")
    else:
        _ask(isinstance(found, dict) and found, at, f"is no {type}")
        wanted = _TYPES[type]
        _ask(found.keys() <= wanted.keys(), at, f"has unknown elements {found.keys() - wanted.keys()}")
        for name, kind in wanted.items():
            _ask(name in found or kind[-1] not in "!+", at, f"lacks {name}")
            if name not in found:
                continue
            if kind[-1] in "*+":
                _ask(isinstance(found[name], list) and found[name], f"{at}.{name}", "is no list with something in it")
            for value in found[name] if kind[-1] in "*+" else [found[name]]:
                check_audit_event(value, kind.rstrip("*+!"), f"{at}.{name}")


def _ask(true, at, trouble):
    if not true:
        raise ValueError(f"{at} {trouble}")

"""Audit records as FHIR R4 AuditEvent resources, after IHE BALP. A feed, not the record.

No `meta.profile` is claimed: BALP's profiles are of requests to a FHIR server, and PatientRead needs a patient, whom no
record names."""

from collections.abc import Mapping
from typing import Any

from readingroom_hub.ledger.atna import NAMES, OUTCOMES, READS, TYPES, action, asks, details, instances, text

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMS = "http://terminology.hl7.org/CodeSystem/"
_EXTENSION = "http://hl7.org/fhir/StructureDefinition/auditevent-"
"""Extensions of FHIR R4 for what PS3.15 says of a participant object, and AuditEvent has no element for."""


def _coding(code: str) -> dict[str, str]:
    return {"system": _DCM, "code": code, "display": NAMES[code]}


def _uid(uid: str) -> dict[str, str]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _agent(value: str, role: str, *, requestor: bool) -> dict[str, Any]:
    return {"type": {"coding": [_coding(role)]}, "who": {"identifier": {"value": value}}, "requestor": requestor}


def _agents(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """In a read the person's server is the destination, the mount daemon the source (BALP 3:5.7.3)."""
    is_read = row["event"] in READS
    process = row["source"]["process"]
    agents = [_agent(process, "110153" if is_read else "110150", requestor=not asks(row))]
    if "session" in row and is_read:
        agents.append(_agent(row["session"], "110152", requestor=False))
    if "person" in row:
        person = _agent(row["person"], "110150", requestor=asks(row))
        person["type"] = {"coding": [{"system": _TERMS + "v3-ParticipationType", "code": "IRCP"}]}
        if grant := row.get("subject", {}).get("grant"):
            person["policy"] = [f"urn:readingroom:grant:{grant}"]
        agents.append(person)
    return agents


def audit_event(row: Mapping[str, Any], site: str) -> dict[str, Any]:
    """The resource of one record. `site`: this installation's name."""
    event: dict[str, Any] = {"resourceType": "AuditEvent", "type": _coding(row["dcm"])}
    if row["event"] in TYPES:
        event["subtype"] = [_coding(TYPES[row["event"]])]
    event |= {"action": action(row), "recorded": row["time"], "outcome": OUTCOMES[row["outcome"]]}
    if "reason" in row:
        event["outcomeDesc"] = text(row["reason"])
    event["agent"] = _agents(row)
    event["source"] = {
        "site": site,
        "observer": {"identifier": {"value": f"{site}/{row['source']['process']}"}},
        "type": [{"system": _TERMS + "security-source-type", "code": "4", "display": "Application Server"}],
    }
    entity: dict[str, Any] = {
        "type": {"system": _TERMS + "audit-entity-type", "code": "2", "display": "System Object"},
        "role": {"system": _TERMS + "object-role", "code": "4", "display": "Domain Resource"},
        "detail": [{"type": text(key), "valueString": text(value)} for key, value in details(row).items() if value],
    }
    if study := row.get("subject", {}).get("study"):
        entity["what"] = {"identifier": _uid(study)}
    if named := instances(row):
        entity["extension"] = [
            {"url": _EXTENSION + "NumberOfInstances", "valueInteger": len(named)},
            *({"url": _EXTENSION + "Instance", "valueIdentifier": _uid(uid)} for uid in named),
        ]
    event["entity"] = [entity]
    return event

"""Audit records as DICOM audit messages (PS3.15 A.5) and as syslog messages (RFC 5424) for IHE ATNA repositories.

A feed, not the record: it has no acknowledgement and no proof. Records hold no patient identifier, so no message has a
patient, which PS3.15 A.5.3 asks of 110103; the study stands for it."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

NAMES = {
    "110100": "Application Activity",
    "110101": "Audit Log Used",
    "110103": "DICOM Instances Accessed",
    "110105": "DICOM Study Deleted",
    "110106": "Export",
    "110107": "Import",
    "110113": "Security Alert",
    "110114": "User Authentication",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110122": "Login",
    "110123": "Logout",
    "110129": "Security Configuration",
    "110132": "Use of Restricted Function",
    "110135": "Object Security Attributes Changed",
    "110136": "Security Roles Changed",
    "110137": "User Security Attributes Changed",
    "110145": "Session start",
    "110146": "Session stop",
    "110147": "Access Control Decision",
    "110150": "Application",
    "110152": "Destination Role ID",
    "110153": "Source Role ID",
    "110180": "Study Instance UID",
}
"""Code meanings of PS3.16 CID 400 to 403 that are used here."""
TYPES = {
    "sign-in": "110122",
    "sign-out": "110123",
    "session-opened": "110145",
    "session-closed": "110146",
    "read-intent": "110147",
    "read-denied": "110132",
    "request-refused": "110132",
    "member-changed": "110136",
    "project-created": "110135",
    "grant-issued": "110135",
    "grant-revoked": "110135",
    "grant-expired": "110135",
    "service-started": "110120",
    "service-stopped": "110121",
    "configuration": "110129",
    "person-forgotten": "110137",
    "access-suspended": "110137",
    "access-resumed": "110137",
}
"""EventTypeCode by event, where CID 401 has one."""
_ACTIONS = {"110103": "R", "110101": "R", "110105": "D", "110106": "R", "110107": "C"}
OUTCOMES = {"success": "0", "denied": "4", "failure": "8"}
"""EventOutcomeIndicator."""
READS = frozenset({"read-intent", "instance-opened", "instance-closed", "read-completed"})
_CONCERNED = frozenset({"access-alert", "access-suspended", "access-resumed"})
"""Of these, the person is whom it is about; who asked for it is the process."""
_ONE_LINE = {ord(c): f"&#{ord(c)};" for c in "\t\n\r\x7f"}
"""Receivers of syslog rewrite control characters; as references they come through."""
_SEVERITY_NOTICE, _SEVERITY_WARNING, _FACILITY = 5, 4, 10


def action(row: Mapping[str, Any]) -> str:
    """EventActionCode: create, read, or execute."""
    return _ACTIONS.get(row["dcm"], "E")


def asks(row: Mapping[str, Any]) -> bool:
    """Whether the record's person is the requestor, and not its process."""
    return "person" in row and row["event"] not in _CONCERNED


def details(row: Mapping[str, Any]) -> dict[str, str]:
    """What has no place of its own in either form, as text."""
    found = {k: row[k] for k in ("id", "event", "project", "session", "reason") if k in row}
    found |= {k: _plain(k, v) for k, v in sorted(row.get("subject", {}).items())}
    found |= {f"node-{k}": str(v) for k, v in sorted(row.get("node", {}).items())}
    return found | {f"{k}-claim": v for k, v in sorted(row.get("claims", {}).items())}


def _plain(key: str, value: object) -> str:
    return json.dumps(value, separators=(",", ":")) if key == "closes" else str(value)


def instances(row: Mapping[str, Any]) -> list[str]:
    """SOP Instance UIDs that a record of a read names, each once."""
    subject = row.get("subject", {})
    named = [c[0] for c in subject.get("closes", ())] or [subject[k] for k in ("instance",) if k in subject]
    return list(dict.fromkeys(named)) if row["event"] in READS else []


def text(value: str) -> str:
    """Without what XML 1.0 (section 2.2) and FHIR's strings cannot hold; a control character becomes its escape."""
    return "".join(c if c in "\t\n\r" or " " <= c <= "\ud7ff" or c >= "\ue000" else f"\\x{ord(c):02x}" for c in value)


def _coded(parent: ET.Element, name: str, code: str) -> None:
    meaning = NAMES[code]
    ET.SubElement(parent, name, {"csd-code": code, "codeSystemName": "DCM", "originalText": meaning})


def _participant(message: ET.Element, user: str, *, role: str, requestor: bool, other: str = "") -> None:
    fields = {"UserID": text(user), "UserIsRequestor": str(requestor).lower()}
    if other:
        fields["AlternativeUserID"] = text(other)
    _coded(ET.SubElement(message, "ActiveParticipant", fields), "RoleIDCode", role)


def _object(message: ET.Element, row: Mapping[str, Any]) -> None:
    subject, study = row.get("subject", {}), row.get("subject", {}).get("study")
    fields = {"ParticipantObjectTypeCode": "2"}
    if study:
        fields |= {"ParticipantObjectID": text(str(study)), "ParticipantObjectTypeCodeRole": "3"}
    else:
        fields |= {"ParticipantObjectID": f"urn:uuid:{row['id']}", "ParticipantObjectTypeCodeRole": "13"}
    if row["event"] in READS:
        fields["ParticipantObjectDataLifeCycle"] = "6"
    made = ET.SubElement(message, "ParticipantObjectIdentification", fields)
    if study:
        _coded(made, "ParticipantObjectIDTypeCode", "110180")
    else:
        code = {"csd-code": "12", "codeSystemName": "RFC-3881", "originalText": "URI"}
        ET.SubElement(made, "ParticipantObjectIDTypeCode", code)
    ET.SubElement(made, "ParticipantObjectName").text = text(str(subject.get("dataset", row["event"])))
    for key, value in details(row).items():
        encoded = base64.b64encode(value.encode()).decode()
        ET.SubElement(made, "ParticipantObjectDetail", {"type": text(key), "value": encoded})
    if study:
        described = ET.SubElement(made, "ParticipantObjectDescription")
        if named := instances(row):
            of_class = ET.SubElement(described, "SOPClass", {"NumberOfInstances": str(len(named))})
            for uid in named:
                ET.SubElement(of_class, "Instance", {"UID": text(uid)})
        ET.SubElement(described, "Anonymized").text = "true"


def audit_message(row: Mapping[str, Any], site: str) -> str:
    """The XML of one record. `site`: this installation's name, the audit source.

    In a read the person's server is the destination and the mount daemon the source of the instances (A.5.3.6)."""
    message = ET.Element("AuditMessage")
    fields = {"EventActionCode": action(row), "EventDateTime": row["time"]}
    event = ET.SubElement(message, "EventIdentification", fields | {"EventOutcomeIndicator": OUTCOMES[row["outcome"]]})
    _coded(event, "EventID", row["dcm"])
    if row["event"] in TYPES:
        _coded(event, "EventTypeCode", TYPES[row["event"]])
    if "reason" in row:
        ET.SubElement(event, "EventOutcomeDescription").text = text(row["reason"])
    is_read = row["event"] in READS
    process = row["source"]["process"]
    if "person" in row:
        role = "110152" if is_read else "110150"
        _participant(message, row["person"], role=role, requestor=asks(row), other=row.get("session", ""))
    _participant(message, process, role="110153" if is_read else "110150", requestor=not asks(row))
    source = {"AuditEnterpriseSiteID": text(site), "AuditSourceID": text(f"{site}/{process}")}
    ET.SubElement(
        ET.SubElement(message, "AuditSourceIdentification", source),
        "AuditSourceTypeCode",
        {"csd-code": "4"},
    )
    _object(message, row)
    return ET.tostring(message, encoding="unicode")


def syslog_message(row: Mapping[str, Any], site: str) -> bytes:
    """RFC 5424: facility 10, notice (warning where it did not succeed), MSGID of IHE ITI TF-2 3.20, one line."""
    severity = _SEVERITY_NOTICE if row["outcome"] == "success" else _SEVERITY_WARNING
    host = "".join(c for c in site if c.isascii() and c.isprintable() and c != " ")[:255] or "-"
    head = f"<{_FACILITY * 8 + severity}>1 {row['time']} {host} readingroom - IHE+RFC-3881 - "
    return head.encode() + audit_message(row, site).translate(_ONE_LINE).encode()


def framed(message: bytes) -> bytes:
    """With its length in front (octet counting, RFC 5425 section 4.3)."""
    return str(len(message)).encode() + b" " + message

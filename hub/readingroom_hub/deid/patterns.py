"""Identifiers told by their form: dates, telephone, e-mail, web addresses, record numbers, people with a title."""

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta

from readingroom_hub.deid.folding import fold
from readingroom_hub.deid.words import ordinary

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar januari janvier enero janeiro gennaio stycznia января",
            "february feb februar februari fevrier febrero fevereiro febbraio fev lutego февраля",
            "march mar marz maerz maart mars marzo marco mrz marca марта",
            "april apr avril abril aprile avr abr kwietnia апреля",
            "may mai mei maj mayo maio maggio maja мая",
            "june jun juni juin junio junho giugno czerwca июня",
            "july jul juli juillet julio julho luglio lipca июля",
            "august aug augusti augustus aout agosto ago sierpnia августа",
            "september sep sept septembre septiembre setembro settembre wrzesnia сентября",
            "october oct oktober okt octobre octubre outubro ottobre out pazdziernika октября",
            "november nov novembre noviembre novembro listopada ноября",
            "december dec dezember dez decembre diciembre dezembro dicembre dic grudnia декабря",
        ),
        start=1,
    )
    for name in fold(names).split()
}
_SHORTEST = 3
_MONTH = "(?:" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")(?![^\W\d_])\.?"
# Months that are no other word: a day beside one is a date without its year.
_LONG_MONTH = (
    "(?:" + "|".join(sorted((m for m in _MONTHS if len(m) > 4 and m != "march"), key=len, reverse=True)) + r")\b"
)
# Short names that are no word or method of medicine (as MAR, OCT, dec are): a day beside one is such a date, too.
_SHORT_MONTH = r"(?:jan|feb|apr|jun|jul|aug|sept?|nov)\.?"
_YEAR = r"(?:1[89]|20)\d\d"
_DAY, _NUMBER = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_BORN = r"\b(?:d\.?o\.?b\.?|born|birth ?date|date of birth|geb(?:\.|oren)?|ne\(?e?\)? le|nac(?:\.|ido)?)[ :.=#on]{0,5}"
_DATES = (
    rf"(?<![\d.])(?P<y>{_YEAR})(?P<s>[-/.])(?P<m>{_NUMBER})(?P=s)(?P<d>{_DAY})(?!\d)(?!\.\d)",
    rf"(?<![\d.])(?P<y2>{_YEAR})(?P<m2>0[1-9]|1[0-2])(?P<d2>0[1-9]|[12]\d|3[01])(?!\d)",
    rf"(?<![^\W_])(?P<n3>{_MONTH})[ .,-]*(?P<d3>{_DAY})(?:st|nd|rd|th)?[ .,-]+(?P<y3>{_YEAR})(?!\d)",
    (
        rf"(?<![^\W_])(?P<d4>{_DAY})(?:st|nd|rd|th|\.)?[ /-]*(?:of |de )?"
        rf"(?P<n4>{_MONTH})[ .,/-]*(?:de )?(?P<y4>{_YEAR})(?!\d)"
    ),
)
# Which number is the day cannot be told, or a part is missing: such dates are taken out.
_UNCLEAR = (
    rf"(?<![\d./-])\d{{1,2}}(?P<t>[-/])\d{{1,2}}(?P=t)(?:{_YEAR}|\d\d)(?!\d)(?![/-]\d)",
    rf"(?<![\d.])\d{{1,2}}\.\d{{1,2}}\.{_YEAR}(?![\d.]\d)",
    rf"(?<![\d./-]){_NUMBER}/{_YEAR}(?![\d/-])",
    rf"(?<![^\W_]){_MONTH}[ .,-]*{_YEAR}(?!\d)",
    rf"(?<![^\W_]){_DAY}[ -]*{_MONTH}[ .,'-]*\d\d(?!\d)",
    rf"(?<![^\W_]){_MONTH} {_DAY}(?:st|nd|rd|th)(?![^\W_])",
    rf"(?<![^\W_]){_MONTH}[ ]*{_DAY}, ?\d\d(?!\d)",
    rf"(?<![^\W_]){_MONTH} ?['\u2019-]\d\d(?!\d)",
    rf"(?<![^\W_])(?:{_LONG_MONTH} {_DAY}|{_DAY}\.? {_LONG_MONTH})(?![^\W_])",
    rf"(?<![^\W_])(?:{_SHORT_MONTH} {_DAY}|{_DAY}\.? {_SHORT_MONTH})(?![^\W_]|\.\d)",
    rf"(?<![^\W_])(?:dated?|on|seen|since|until|prior|from)[: ]+(?P<when>{_NUMBER}/{_DAY})(?![\w/])",
    rf"(?<![\w./-]){_YEAR}[-/](?:0[1-9]|1[0-2])(?![\w/-])",
    rf"(?<![\w.]){_YEAR} (?:0[1-9]|1[0-2]) (?:0[1-9]|[12]\d|3[01])(?![\w.])",
    rf"(?<![\w.])(?:0[1-9]|[12]\d|3[01]) (?:0[1-9]|1[0-2]) {_YEAR}(?![\w.])",
    rf"(?<![^\W_]){_YEAR}{_MONTH}\d\d(?!\d)",
    rf"(?:dated?|on|from|vom|am|du|del|prior|since|until)[: ]+(?P<when>{_DAY}\.{_NUMBER}\.\d\d)(?![\w.])",
    rf"(?<!\d){_YEAR} ?[年년] ?\d{{1,2}} ?[月월](?: ?\d{{1,2}} ?[日일])?",
    # Eight digits and more are no measure: another form of date, a telephone or record number.
    rf"(?<![\w.,-])(?!{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d))\d{{8,}}(?![\w]|[.,]\d)",
    r"(?<![^\W_])[a-z]{1,3}-?\d{6,}(?:\(\d\))?(?![^\W_])",
    r"(?<![\w.])\d{2,3}\.(?:\d{1,3}\.\d{1,3}\.\d{2,3}|\d{1,3}\.\d{2,3}\.\d{1,3})(?![\w.])",
)
_CONTACTS = (
    r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)+",
    r"(?<![\w+])\(\d{3,5}\)[ -]?\d{3,4}[ .-]?\d{3,5}(?!\d)",
    r"(?<![\w.+-])\+\d{1,3}[ ()./-]{0,2}\d(?:[ ()./-]{0,2}\d){6,12}(?!\d)",
    r"(?<![\w.-])(?:1[-. ])?\d{3}([-. ])\d{3}\1\d{4}(?![\w.-])",
    r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])",
    # National numbers start with 0 and have nine digits or more, in groups.
    r"(?<![\w.+-])(?=(?:[ ()/-]*\d){9})\(?0\d{1,4}\)?[ /-]{1,2}\d{2,8}(?:[ -]\d{2,4}){0,4}(?![\w.-])",
    # Numbers of persons in Brazil and Chile.
    r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d\d(?![\w-])",
    r"(?<![\w.-])\d{1,2}\.\d{3}\.\d{3}-[\dk](?![\w-])",
    (
        r"(?<![^\W_])(?:tel|telephone|telefono?|phone|fax|call(?:ed)?|contact|dial|reach|mobile|mob|cell|handy|whatsapp|"
        r"sms|pager|beeper|bleep|ext)[.:# ]{1,3}(?P<phone>[+(]?\d[\d ()./-]{3,}\d)"
    ),
    (
        r"(?<![^\W_])(?:ssn|nhs|medicare|medicaid|mrn|chart|record|passport|policy|insurance)"
        r"(?: ?(?:no|nr|number|num|id)\b\.?)?[ :=#.]{1,3}(?P<grouped>\d{2,}(?:[ -]\d{1,6}){1,4})(?![\w.])"
    ),
    (
        r"(?<![^\W_])(?:mrn#?|mr ?#|id|patient[ -]?(?:id|no|number)|acc(?:ession)?|ssn|nhs|case|record|chart|encounter|"
        r"visit|order|policy|account|acct|member|insurance|licen[cs]e|npi|serial|sn|s/n|folder|fin|hn|vn|an|pid|dob|passport|medicare|medicaid|hkid|"
        r"ref(?:erence)?|hosp(?:ital)?|urn?|cpf|rut|dni|nie|nif|curp|bsn|pesel|personnummer|cpr|nric|aadhaar|pat\.?-?|fall-?|"
        r"akte|plate|vin)"
        r"(?: ?(?:no|nr|number|num|id)\b\.?)?[ :=#.]{1,3}"
        r"(?P<id>(?=[a-z0-9/-]*\d[a-z0-9/-]*\d[a-z0-9/-]*\d)[a-z0-9/-]{5,})"
    ),
    (
        rf"{_BORN}(?P<born>[\w./ -]{{0,8}}\d{{1,4}}[-./ \d]{{1,11}}\d|{_DAY}[ -]*{_MONTH}[ .,-]*\d{{2,4}}|"
        rf"{_MONTH}[ .,-]*{_DAY}(?:st|nd|rd|th)?[ .,-]+\d{{4}})"
    ),
    (
        r"(?<![\w.])\d{1,5} (?:[a-z'.-]+ ){1,4}(?:street|avenue|road|lane|drive|boulevard|court|way|place|square|"
        r"terrace|hollow|highway|parkway|circle|crescent)(?![^\W_])"
    ),
    r"(?<![^\W_])[a-z]+(?:stra(?:ss|ß|s)e|str\.|weg|gasse|platz|allee) ?\d{1,4}[a-z]?(?![^\W_])",
)
# In prose a link leads to somebody's page or order; in a field of its own it names a program.
_LINK = re.compile(r"(?:https?|ftp|file)://\S+|(?<![^\W_])www\.[\w-]+\.\S+")
_QUERY = re.compile(r"\w+://\S*\?\S*")
_CONTACT = tuple(re.compile(p) for p in _CONTACTS)
_WHOLE_DATE = tuple(re.compile(p) for p in _DATES)
_UNCLEAR_DATE = tuple(re.compile(p) for p in _UNCLEAR)
_UID = re.compile(r"(?<![\d.])[0-2](?:\.(?:0|[1-9]\d*)){5,}(?![\d.])")
_OLD = re.compile(
    r"(?<![\d.])(?P<old>0?9\d|1[01]\d)(?=[ -]?(?:y[./]?o\b|yo\b|y(?:rs?)?\b|years?\b|jahre\b|jahrig|ans\b|anos\b|"
    r"anni\b|лет\b|歳|岁|(?:fe)?male\b|(?:wo)?man\b|lady\b|gentleman\b))"
    r"|(?<![^\W_])(?:age|aged|alter|edad|eta)[ :=]{1,2}(?P<aged>0?9\d|1[01]\d)(?![\d.]|[^\W_])"
)
# "93M", "101 F": read in the text's own case, since "m" is also metres and minutes.
_OLD_AND_SEX = re.compile(r"(?<![\w.-])(?P<old>9\d|1[01]\d)(?=[ -]?(?:y[ /.-]?)?[MF](?![\w/]))")
# Upper-case MR, MS, DR are modalities and a disease as often as titles: those need a dot or mixed case.
_TITLE = re.compile(
    r"(?<![^\W_])(?:Drs?\.?|DR\.|Prof\.?|PROF\.|Mrs?\.?|MRS?\.|Ms\.|Miss|Herr|Frau|Mme\.?|Tech(?:nologist)?[:.]|"
    r"TECH[:.]|Radiologist:?|Physician:|Nurse)[ ]*(?P<person>[A-Z][\w'\u2019-]+(?:[ ,]+[A-Z][\w'\u2019-]+){0,2})"
)
# People whom nothing but the words around them gives away; case tells names from other words.
_BESIDE = (
    re.compile(r"(?P<person>(?:[A-Z][a-z][\w'\u2019-]+[ ,]+){1,3})(?:DOB|D\.O\.B|MRN|SSN|dob|mrn|born)\b"),
    re.compile(
        r"(?<![^\W_])(?:[Pp]a?t|PT|[Pp]atient)[.:]? +(?P<person>[A-Z][a-z][\w'\u2019-]+(?: [A-Z][a-z][\w'\u2019-]+)?)"
    ),
)
_NAME = re.compile(r"[\w'\u2019-]+")
Found = tuple[int, int, str]
"""Start, end, and what is written there; an empty text means the word for what was removed."""


def people(text: str) -> Iterator[tuple[int, int]]:
    """Where words stand that the words around them make names: behind a title, before a birth date, after patient."""
    for m in _TITLE.finditer(text):
        words = list(_NAME.finditer(text, *m.span("person")))
        if any(fold(w[0]) not in ordinary() for w in words):
            yield from (w.span() for w in words if w is words[0] or not _plain(w[0]))
    for pattern in _BESIDE:
        for m in pattern.finditer(text):
            yield from (w.span() for w in _NAME.finditer(text, *m.span("person")) if not _plain(w[0]))


def _plain(word: str) -> bool:
    return fold(word) in ordinary() or len(word) < _SHORTEST


def contacts(text: str) -> Iterator[Found]:
    """Whatever leads to a person: numbers, addresses, people named by title, and ages over 89 (45 CFR 164.514(b))."""
    folded = fold(text)
    for pattern in _CONTACT:
        for m in pattern.finditer(folded):
            yield *m.span(m.lastgroup or 0), ""
    for span in people(text):
        yield *span, ""
    for m in _QUERY.finditer(text):
        yield *m.span(), ""
    for m in _OLD.finditer(folded):
        yield *m.span("old" if m["old"] else "aged"), "90+"
    for m in _OLD_AND_SEX.finditer(text):
        yield *m.span("old"), "90+"


def uids(text: str, replace: Callable[[str], str]) -> Iterator[Found]:
    """UIDs within a text, each with its replacement."""
    for m in _UID.finditer(text):
        yield *m.span(), replace(m[0])


def prose(text: str, days: int | None) -> Iterator[Found]:
    """Links, and dates: whole ones moved back by `days` in their own form; others removed, or all where it is None."""
    folded = fold(text)
    for m in _LINK.finditer(folded):
        yield *m.span(), ""
    for pattern in _WHOLE_DATE:
        for m in pattern.finditer(folded):
            yield *m.span(), _moved(m, days) if days is not None else ""
    for pattern in _UNCLEAR_DATE:
        part = "when" if "when" in pattern.groupindex else 0
        for m in pattern.finditer(folded):
            yield *m.span(part), ""


def _moved(m: re.Match[str], days: int) -> str:
    part = {k[0]: v for k, v in m.groupdict().items() if v and k != "s"}
    month = int(part["m"]) if "m" in part else _MONTHS[part["n"].rstrip(".")]
    try:
        day = date(int(part["y"]), month, int(part["d"])) - timedelta(days)
    except (ValueError, OverflowError):
        return ""
    separator = m.groupdict().get("s") or ("" if "m" in part else "-")
    return separator.join((f"{day.year:04d}", f"{day.month:02d}", f"{day.day:02d}"))

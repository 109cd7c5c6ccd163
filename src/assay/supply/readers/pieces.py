"""SentencePiece's vocabularies (``tokenizer.model``): pieces of words and their scores.

Source: ``sentencepiece/src/sentencepiece_model.proto``.
"""

from __future__ import annotations

from assay.supply.readers.part import Part
from assay.supply.readers.wire import Tables, Walker, begins_as, fields

_TABLES: Tables = {
    "Model": fields(
        "Model", "1 piece Piece, 2 trainer b, 3 normalizer b, 4 test b, 5 denormalizer b"
    ),
    "Piece": fields("Piece", "1 piece b, 2 score 4, 3 type v"),
}


def looks_like_pieces(part: Part) -> bool:
    """Whether the fields are those of a vocabulary, to the end."""
    seen = begins_as(part.buffer, part.start, part.end, _TABLES["Model"], 2_000_000)
    return {1, 2} <= seen


def read(part: Part) -> str:
    """Every piece; the format."""
    Walker(part.buffer, _TABLES, "sentencepiece", lambda *_: None).walk(
        part.start, part.end, "Model"
    )
    return "sentencepiece"

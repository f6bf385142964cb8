"""A corpus described in Croissant 1.0, the JSON-LD that dataset searches and loaders read, with its RAI vocabulary.

Sources: the Croissant format specification 1.0 and the Croissant RAI specification 1.0 (MLCommons, 2024). What nobody
told us is left out: no date but those of the documents, no creator, and a licence only where every document has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
FIELDS = {
    "id": "Name of the document: a hash of where it is from and what it says.",
    "text": "The text, in UTF-8.",
    "source": "What the document was gathered from.",
    "url": "Where the document was, if it has an address.",
    "created": "When it was fetched or written, as the input says.",
    "metadata": "A JSON object with what else is known, such as title, language and licence.",
}


@dataclass(frozen=True)
class File:
    """A Parquet file of documents."""

    name: str
    size: int
    sha256: str
    rows: int


def croissant(card: Mapping[str, Any], files: Sequence[File], *, name: str, description: str) -> Json:
    """The JSON-LD object, to be saved beside the files.

    Args:
        card: the data card of the corpus.
        files: its Parquet files, in order.
    """
    rows = sum(file.rows for file in files)
    about = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": CONFORMS_TO,
        "license": _license(card["licenses"]),
        "inLanguage": [name for name in card["languages"] if name != "unknown"],
    }
    return {
        **_known(about),
        **_known(responsible(card)),
        "distribution": [*map(_file_object, files), _file_set()],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "documents",
                "name": "documents",
                "description": f"{rows:,} documents, in an order that a keyed hash of their ids gives.",
                "key": {"@id": "documents/id"},
                "field": [_field(column, said) for column, said in FIELDS.items()],
            }
        ],
    }


def responsible(card: Mapping[str, Any]) -> Json:
    """What the RAI vocabulary asks for and the card knows; empty where it does not."""
    days = [day for period in card["dates"]["periods"].values() for day in period]
    return {
        "rai:dataCollection": _collected(card["kinds"]),
        "rai:dataCollectionType": sorted({"Web Scraping" for kind in card["kinds"] if kind == "web pages"}),
        "rai:dataCollectionTimeFrame": [min(days), max(days)] if days else [],
        "rai:dataCollectionMissingData": "; ".join(
            f"{number:,} malformed: {what}" for what, number in card["malformed_kinds"].items()
        ),
        "rai:dataPreprocessingProtocol": [
            f"{rule}: {entry['documents']:,} documents removed" for rule, entry in card["removed"].items()
        ]
        + [f"{rule}: {entry['bytes']:,} bytes taken out of documents" for rule, entry in card["edits"].items()],
        "rai:dataLimitations": _limitations(card),
        "rai:dataBiases": list(card["warnings"]),
        "rai:personalSensitiveInformation": [
            f"{kind}: masked {times:,} times where a pattern found it" for kind, times in card["masked"].items()
        ],
    }


def _collected(kinds: Mapping[str, Mapping[str, int]]) -> str:
    return "; ".join(
        f"{row['read']:,} {kind or 'other documents'} were read, {row['documents']:,} are kept"
        for kind, row in kinds.items()
    )


def _limitations(card: Mapping[str, Any]) -> list[str]:
    told = []
    if unnamed := card["licenses"].get("none named", {}).get("documents"):
        told.append(f"{unnamed:,} documents name no licence.")
    if not card["licenses"] and card["table"]:
        told.append("No document names a licence.")
    if opted := sum(card["opted_out"].values()):
        told.append(f"{opted:,} documents are left out because they ask not to be learned from.")
    if card["geography"]["domains"]:
        told.append(
            f"{card['geography']['country_codes']:.0%} of hosts have a country's ending. {card['geography']['note']}"
        )
    return told


def _license(ledger: Mapping[str, Mapping[str, Any]]) -> list[str]:
    unnamed = ledger.get("none named", {}).get("documents", 1)
    return [] if unnamed else [name for name in ledger if name != "none named"]


def _file_object(file: File) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "description": f"{file.rows:,} documents",
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file.sha256,
    }


def _file_set() -> Json:
    # Not containedIn the files above: a reader takes that for an archive to unpack, and one without it for this folder.
    return {
        "@type": "cr:FileSet",
        "@id": "parquet",
        "name": "parquet",
        "description": "The files of the documents, beside this one.",
        "encodingFormat": "application/x-parquet",
        "includes": "documents*.parquet",
    }


def _field(column: str, said: str) -> Json:
    return {
        "@type": "cr:Field",
        "@id": f"documents/{column}",
        "name": column,
        "description": said,
        "dataType": "sc:Text",
        "source": {"fileSet": {"@id": "parquet"}, "extract": {"column": column}},
    }


def _known(values: Mapping[str, Any]) -> Json:
    """Without what is empty; a list of one is that one."""
    return {key: v[0] if isinstance(v, list) and len(v) == 1 else v for key, v in values.items() if v}

"""Licences of models that SPDX's list of software licences lacks or says nothing about.

For each: how it is called (the identifier of ScanCode's licence database where there is one, so
that other tools know it too), by which names hubs call it, and what of its terms matters to whoever
uses the model.  The terms are a summary with a source, never advice.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Commercial = Literal["yes", "no", "limited"]


class Terms(msgspec.Struct, frozen=True):
    """What a licence asks of whoever uses what is under it."""

    commercial: Commercial
    """``limited``: up to a number of users, a turnover, or only some uses."""
    restricted: bool
    """Whether it forbids kinds of use, and whoever passes it on has to forbid them too."""
    attribution: bool
    share_alike: bool
    """Whether what is made from it has to be under the same licence."""
    outputs: bool
    """Whether it says what may be done with what a model answers."""
    note: str
    source: str

    def obligations(self) -> list[str]:
        """In a few words each."""
        told = {"no": "no commercial use", "limited": "commercial use is limited", "yes": ""}
        found = [
            told[self.commercial],
            "kinds of use are forbidden, and must be passed on" if self.restricted else "",
            "attribution" if self.attribution else "",
            "derivatives under the same licence" if self.share_alike else "",
            "limits on outputs" if self.outputs else "",
        ]
        return [text for text in found if text]


class ModelLicence(msgspec.Struct, frozen=True):
    """A licence, its names and its terms."""

    id: str
    names: tuple[str, ...]
    terms: Terms


def _rail(note: str, source: str, *, commercial: Commercial = "yes") -> Terms:
    return Terms(commercial, True, True, False, False, note, source)


def _llama(number: str, source: str, *, outputs: bool, attribution: str) -> Terms:
    used = "" if outputs else "outputs may not improve other large language models; "
    return Terms(
        "limited",
        True,
        True,
        False,
        True,
        f"{used}a licence of Meta's own from 700 million monthly users; {attribution}",
        source or f"https://www.llama.com/llama{number}/license/",
    )


_BUILT = '"Built with Llama" and a name that begins with Llama for what is made with it'
_CC = "https://creativecommons.org/licenses/"

LICENCES: tuple[ModelLicence, ...] = (
    ModelLicence(
        "LicenseRef-scancode-llama-2-license-2023",
        ("llama2", "llama-2", "Llama 2 Community License Agreement"),
        _llama(
            "2",
            "https://ai.meta.com/llama/license/",
            outputs=False,
            attribution="a notice with every copy",
        ),
    ),
    ModelLicence(
        "LicenseRef-Llama-3-Community",
        ("llama3", "llama-3", "Meta Llama 3 Community License Agreement"),
        _llama("3", "", outputs=False, attribution=f"{_BUILT} ('Meta Llama 3')"),
    ),
    ModelLicence(
        "LicenseRef-scancode-llama-3.1-license-2024",
        ("llama3.1", "llama-3.1", "Llama 3.1 Community License Agreement"),
        _llama("3_1", "", outputs=True, attribution=_BUILT),
    ),
    ModelLicence(
        "LicenseRef-scancode-llama-3.2-license-2024",
        ("llama3.2", "llama-3.2", "Llama 3.2 Community License Agreement"),
        _llama(
            "3_2",
            "",
            outputs=True,
            attribution=f"{_BUILT}; no rights to the multimodal models for who is in the EU",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-llama-3.3-license-2024",
        ("llama3.3", "llama-3.3", "Llama 3.3 Community License Agreement"),
        _llama("3_3", "", outputs=True, attribution=_BUILT),
    ),
    ModelLicence(
        "LicenseRef-scancode-llama-4-license-2025",
        ("llama4", "llama-4", "Llama 4 Community License Agreement"),
        _llama(
            "4",
            "",
            outputs=True,
            attribution=f"{_BUILT}; no rights to the multimodal models for who is in the EU",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-gemma-tou-2024-04-01",
        ("gemma", "gemma-terms-of-use", "Gemma Terms of Use"),
        _rail(
            "Google may restrict use that it believes to be against its policy; models trained on "
            "outputs to behave like Gemma are derivatives",
            "https://ai.google.dev/gemma/terms",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-openmdw-1.0",
        ("openmdw", "openmdw-1.0", "OpenMDW-1.0"),
        Terms(
            "yes",
            False,
            True,
            False,
            False,
            "permissive, for model, data and documents alike; ends for who sues about the model",
            "https://openmdw.ai/license/1-0/",
        ),
    ),
    ModelLicence(
        "LicenseRef-CreativeML-OpenRAIL-M",
        ("creativeml-openrail-m", "CreativeML Open RAIL-M"),
        _rail(
            "attachment A forbids kinds of use; who passes it on binds others to it",
            "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
        ),
    ),
    ModelLicence(
        "LicenseRef-OpenRAIL++-M",
        ("openrail++", "CreativeML Open RAIL++-M"),
        _rail(
            "as CreativeML OpenRAIL-M, without the duty to update",
            "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-bigscience-open-rail-m",
        ("bigscience-openrail-m", "BigScience OpenRAIL-M"),
        _rail(
            "attachment A forbids kinds of use; who passes it on binds others to it",
            "https://www.licenses.ai/blog/2022/8/26/bigscience-open-rail-m-license",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-bigscience-rail-1.0",
        ("bigscience-bloom-rail-1.0", "BigScience RAIL 1.0", "bigscience-bloom-rail"),
        _rail(
            "attachment A forbids kinds of use, and asks that who meets answers knows it",
            "https://huggingface.co/spaces/bigscience/license",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-bigcode-open-rail-m-v1",
        ("bigcode-openrail-m", "BigCode OpenRAIL-M"),
        _rail(
            "attachment A forbids kinds of use; the model card has to be passed on",
            "https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-deepseek-la-1.0",
        ("deepseek", "deepseek-license", "DeepSeek License Agreement 1.0"),
        _rail(
            "attachment A forbids kinds of use; outputs are the user's",
            "https://github.com/deepseek-ai/DeepSeek-V3/blob/main/LICENSE-MODEL",
        ),
    ),
    ModelLicence(
        "LicenseRef-Qwen-LICENSE-AGREEMENT",
        ("qwen", "tongyi-qianwen", "Qwen LICENSE AGREEMENT", "Tongyi Qianwen LICENSE AGREEMENT"),
        Terms(
            "limited",
            False,
            True,
            False,
            True,
            "a licence of Alibaba's own from 100 million monthly users; outputs that improve other "
            "models have to be named",
            "https://huggingface.co/Qwen/Qwen2.5-72B-Instruct/blob/main/LICENSE",
        ),
    ),
    ModelLicence(
        "LicenseRef-Qwen-RESEARCH",
        ("qwen-research", "Qwen RESEARCH LICENSE AGREEMENT"),
        Terms(
            "no",
            False,
            True,
            False,
            True,
            "for research and evaluation only",
            "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE",
        ),
    ),
    ModelLicence(
        "LicenseRef-scancode-falcon-2-11b-1.0",
        ("falcon-2", "falcon-llm-license", "Falcon 2 11B TII License 1.0"),
        _rail(
            "an acceptable use policy that may change, and has to be passed on",
            "https://falconllm.tii.ae/falcon-2-terms-and-conditions.html",
        ),
    ),
    ModelLicence(
        "LicenseRef-Falcon-180B-TII",
        ("falcon-180b", "Falcon 180B TII License 1.0"),
        _rail(
            "no offering of it as a hosted service without a licence of TII's own",
            "https://huggingface.co/spaces/tiiuae/falcon-180b-license",
            commercial="limited",
        ),
    ),
)

INTERNAL = "LicenseRef-assay-internal"
"""What an organisation calls *internal*: its own data or model, which nobody else is given.  A
package, which somebody else gave, is never under it."""


def _cc(kind: str, commercial: Commercial, *, share_alike: bool) -> Terms:
    return Terms(
        commercial,
        False,
        True,
        share_alike,
        False,
        "no changed copies may be passed on" if "nd" in kind else "",
        f"{_CC}{kind}/4.0/",
    )


_KINDS: tuple[tuple[str, Commercial, bool], ...] = (
    ("nc", "no", False),
    ("nc-sa", "no", True),
    ("nc-nd", "no", False),
    ("nd", "yes", False),
    ("sa", "yes", True),
)

SPDX_TERMS: dict[str, Terms] = {
    **{
        f"CC-BY-{kind.upper()}-{version}": _cc(f"by-{kind}", commercial, share_alike=share_alike)
        for version in ("2.0", "2.5", "3.0", "4.0")
        for kind, commercial, share_alike in _KINDS
    },
    **{
        f"CC-BY-{version}": _cc("by", "yes", share_alike=False)
        for version in ("2.0", "2.5", "3.0", "4.0")
    },
}
"""Terms of licences that SPDX lists and that data and models are often under."""

BY_NAME = {name.lower(): licence for licence in LICENCES for name in (licence.id, *licence.names)}
BY_ID = {licence.id: licence for licence in LICENCES}


def terms_of(identifier: str) -> Terms | None:
    """What is known of a licence's terms."""
    known = BY_ID.get(identifier)
    return known.terms if known else SPDX_TERMS.get(identifier)

"""Names that a document makes its loader import: Hydra's ``_target_``, MLflow's ``loader_module``.

A dotted name is looked up step by step, through whatever a module itself imported: ``sklearn.os``
is the module `os`.  So a known library at the front says nothing; allowed is a class of it, whose
name begins like one, reached through no module of Python.
"""

from __future__ import annotations

import re
import sys

from assay.supply import allowed
from assay.supply.findings import Severity, words

ALWAYS = frozenset({"_target_", "loader_module", "class_path", "python_class"})
"""Keys whose value is always imported."""
DOTTED = frozenset({"target", "type", "entry_point", "tokenizer_class", "activation_fn", "$type"})
"""Keys whose value some loaders import when it is a dotted name: latent diffusion and NeMo
(`target`), Haystack and AllenNLP (`type`), sentence-transformers."""
CODE = frozenset({"code", "model_code_path"})
"""Keys of MLflow's ``MLmodel`` whose value is source to run."""

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_LIBRARIES = re.compile(
    r"(torch\.(nn|optim)|transformers|sentence_transformers|diffusers|peft|optimum|span_marker"
    r"|setfit|nemo\.(collections|core)|pytorch_lightning|lightning|torchmetrics|sklearn|xgboost"
    r"|lightgbm|catboost)(\.\w+)*\.[A-Z]\w*"
)
_FUNCTIONS = re.compile(r"torch\.nn\.functional\.[a-z]\w*")
_FLAVOURS = re.compile(
    r"mlflow\.(catboost|diviner|dspy|fastai|gluon|h2o|johnsnowlabs|keras|langchain|lightgbm"
    r"|llama_index|mleap|onnx|openai|paddle|pmdarima|prophet|promptflow|pyfunc\.model|pyspark\.ml"
    r"|pytorch|sentence_transformers|shap|sklearn|spacy|spark|statsmodels|tensorflow|transformers"
    r"|xgboost|pyfunc\.loaders\.\w+)"
)
_NOT_CLASSES = words("Popen Path PosixPath Thread Process Pool Session Template Environment")
"""Names in capitals that modules import from elsewhere."""
_ELSEWHERE = re.compile(r"(hf-hub|hf_hub|local-dir):")
_EXPRESSION = re.compile(r"\$\s*(import\b|from\b|__|[^\W\d][\w.]*\s*[(\[])")


def is_dotted(value: str) -> bool:
    return _NAME.fullmatch(value) is not None


def judge(name: str) -> tuple[Severity, str] | None:
    """What is wrong with importing a name; None for a class of a library that is known."""
    parts = name.removeprefix("nemo.collections").split(".")
    plain = not any(p in sys.stdlib_module_names or p.startswith("__") for p in parts[1:])
    if plain and _LIBRARIES.fullmatch(name) and parts[-1] not in _NOT_CLASSES:
        return None
    if plain and _FUNCTIONS.fullmatch(name):
        return None
    what = f"imports {name[:100]!r}"
    if not plain:
        return "malicious", what
    severity, _ = allowed.judge(".".join(parts[:-1]), parts[-1]) if parts[1:] else ("suspicious", 0)
    return severity, what


def judge_key(key: str, value: str) -> tuple[Severity, str] | None:
    """What is wrong with a document's ``key: value``; None where a loader imports nothing by it."""
    if key in ALWAYS:
        if not value or (key == "loader_module" and _FLAVOURS.fullmatch(value)):
            return None
        wrong = judge(value)
    elif key in DOTTED or key.endswith("activation_function"):
        wrong = judge(value) if is_dotted(value) else None
    elif key in ("architecture", "timm_model_name", "model_name") and _ELSEWHERE.match(value):
        wrong = ("suspicious", f"names the model {value[:100]!r}, to be fetched")
    elif key == "megatron_core" and value != "megatron.core":
        wrong = judge(value)
    elif key.endswith("attn_implementation") and "/" in value:
        wrong = ("suspicious", f"fetches the native code {value[:100]!r}")
    else:
        return None
    return (wrong[0], f"{key} {wrong[1]}") if wrong else None


def is_expression(text: str) -> bool:
    """Whether MONAI would evaluate a text: Python behind a dollar sign that calls or imports."""
    return text.startswith("$") and _EXPRESSION.match(text) is not None


_FETCHED = re.compile(
    r"^[ \t\"'-]*(?:(?:-i|--index-url|--extra-index-url|-f|--find-links|-e|--editable"
    r"|--trusted-host|--no-index)\b.*"
    r"|\S*(?:git|hg|svn|bzr)\+\S+|(?:[\w.\[\], -]+@\s*)?(?:https?|ftp|file|s3):\S+"
    r"|(?:\.{0,2}[/\\]|[A-Za-z]:\\)\S*|\S+\.(?:whl|tar\.gz|zip)\b.*)",
    re.M,
)
REQUIREMENTS = re.compile(r"(.*requirements.*\.(txt|in)|constraints\.txt)", re.I)
ENVIRONMENTS = re.compile(r"(conda|environment|python_env)\.ya?ml", re.I)


def fetched(text: str) -> str | None:
    """A dependency in a list that does not come from the user's own index; the line."""
    found = _FETCHED.search(text)
    return found[0].strip()[:100] if found else None

"""What PyTorch's constructors may be given: views that lie inside the storage they are of.

Source: ``torch/_utils.py`` and ``torch/nn/parameter.py``, torch 2.14.
"""

from __future__ import annotations

from typing import Any, cast

from assay.supply.stand_ins import Dict, Global, Instance, Outcome, Storage

_WIDTHS = {
    **dict.fromkeys(("uint8", "int8", "bool", "float8_e4m3fn", "float8_e4m3fnuz"), 1),
    **dict.fromkeys(("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("uint16", "int16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("uint32", "int32", "float32", "complex32"), 4),
    **dict.fromkeys(("uint64", "int64", "float64", "complex64"), 8),
    "complex128": 16,
}
_HOOKS = "collections OrderedDict"
_MOST = 1 << 48
_TENSORS = frozenset(
    f"torch._utils _rebuild_{kind}" for kind in ("tensor", "tensor_v2", "tensor_v3", "parameter")
)


def _numbers(value: Any) -> tuple[int, ...] | None:
    """A shape or the steps of a view, however many dimensions it has."""
    if isinstance(value, Instance) and value.made_by.full == "torch Size":
        value = value.size_of
    if not isinstance(value, tuple):
        return None
    parts = cast("tuple[Any, ...]", value)
    fit = all(isinstance(n, int) and 0 <= n < _MOST for n in parts)
    return parts if fit and len(parts) <= 64 else None


def _no_hooks(value: Any) -> bool:
    """Whether hooks are those of a saved tensor: none."""
    if value is None:
        return True
    return isinstance(value, Instance) and value.made_by.full == _HOOKS and not value.filled


def _inside(storage: Any, offset: Any, size: Any, steps: Any, width: int = 0) -> str | None:
    """What is wrong with a view, in elements of the storage or of `width` bytes."""
    if storage.__class__ is not Storage:
        return "makes a tensor from something other than a storage"
    shape, strides = _numbers(size), _numbers(steps)
    if shape is None or strides is None or len(shape) != len(strides):
        return "makes a tensor of a shape that cannot be followed"
    if not isinstance(offset, int) or not 0 <= offset < _MOST:
        return "makes a tensor of a shape that cannot be followed"
    if 0 in shape:
        return None
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    room = storage.elements * storage.width // width if width else storage.elements
    return None if last < room else "makes a tensor that lies outside its storage"


def _tensor(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    """``_rebuild_tensor``, ``_v2`` and ``_v3``: storage, place, shape, steps, gradient, hooks."""
    made = Instance(function)
    rest, width = arguments[4:], 0
    if function.name == "_rebuild_tensor":
        fit = not rest
    elif function.name == "_rebuild_tensor_v3":
        kind = rest[2] if len(rest) in (3, 4) else None
        width = _WIDTHS.get(kind.name, 0) if isinstance(kind, Global) else 0
        fit, rest = width > 0, (*rest[:2], *rest[3:])
    else:
        fit = len(rest) in (2, 3)
    if fit and rest:
        fit = isinstance(rest[0], bool) and _no_hooks(rest[1])
        fit = fit and all(extra.__class__ is Dict and not extra.overrides for extra in rest[2:])
    if not fit:
        return made, f"gives {function} unusual arguments"
    return made, _inside(*arguments[:4], width=width)


def _quantized(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    made = Instance(function)
    match arguments:
        case (_, _, _, _, (Global(name="per_tensor_affine"), _, int()), bool(), hooks) if _no_hooks(
            hooks
        ):
            return made, _inside(*arguments[:4])
        case _:
            return made, f"gives {function} unusual arguments"


def _layout(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    fit = len(arguments) == 1 and isinstance(arguments[0], str)
    return Instance(function), None if fit else f"gives {function} unusual arguments"


def _parameter(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    made = Instance(function)
    match arguments:
        case (Instance(made_by=Global(module="torch._utils")), bool(), hooks, *state) if _no_hooks(
            hooks
        ) and len(state) == (function.name == "_rebuild_parameter_with_state"):
            if all(part.__class__ is Dict and not part.overrides for part in state):
                return made, None
            return made, f"gives {function} a state that is not a dict"
        case _:
            return made, f"gives {function} unusual arguments"


def _meta(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    made = Instance(function)
    match arguments:
        case (Global(module="torch"), size, steps, bool()) if (
            _numbers(size) is not None and _numbers(steps) is not None
        ):
            return made, None
        case _:
            return made, f"gives {function} unusual arguments"


def _sparse(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    """A layout, then the tensors of indices and of values, the shape, whether it is coalesced.

    PyTorch does not check the indices, nor does scipy those of its matrices: like all wrong numbers
    in arrays that is left to the confinement in which a model is loaded.
    """
    made = Instance(function)
    match arguments:
        case (Instance(made_by=Global(name="_get_layout")), (*tensors, size, bool() | None)):
            pass
        case (Instance(made_by=Global(name="_get_layout")), (*tensors, size)):
            pass
        case _:
            return made, f"gives {function} unusual arguments"
    rebuilt = all(isinstance(t, Instance) and t.made_by.full in _TENSORS for t in tensors)
    if not rebuilt or len(tensors) not in (2, 3) or _numbers(size) is None:
        return made, f"gives {function} unusual arguments"
    return made, None


def _size(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    made = Instance(function)
    if len(arguments) == 1 and (shape := _numbers(arguments[0])) is not None:
        made.size_of = shape
        return made, None
    return made, f"gives {function} something other than a shape"


def _device(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    match arguments:
        case (str(),) | (str(), int()):
            return Instance(function), None
        case _:
            return Instance(function), f"gives {function} unusual arguments"


CALLS: dict[str, Any] = {
    "torch Size": _size,
    "torch device": _device,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "torch._utils _rebuild_qtensor": _quantized,
    "torch._utils _rebuild_sparse_tensor": _sparse,
    "torch.serialization _get_layout": _layout,
    "torch._utils _rebuild_meta_tensor_no_storage": _meta,
}

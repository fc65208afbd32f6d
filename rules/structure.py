"""What moves, sums and adds: functions that are linear, and the constants they add.

Not a rule but the ground under all of them. A linear function needs nothing, since its
own gradient conserves relevance. A function that adds or puts in a constant needs
nothing either, but the constant is a source: its relevance <constant, gradient> goes
to the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..engine import (
    Kept,
    active_scope,
    add_functions,
    carries,
    drop_history,
    in_place,
    is_distributed,
    mark_alias,
    owner_of,
    report,
    role,
    set_role,
    spellings,
    table,
    watch_source,
)

__all__ = ["SHAPES", "affine", "keeps_role", "zeroed"]

SAME = """
    contiguous clone to type type_as float double half bfloat16 cfloat cdouble chalf
    cpu cuda dropout as_tensor asarray
    feature_dropout positive pin_memory alias
"""
NOISE = "alpha_dropout feature_alpha_dropout"
SHAPE = """
    view reshape view_as reshape_as transpose t permute swapaxes swapdims movedim
    moveaxis unsqueeze squeeze flatten unflatten ravel expand expand_as
    broadcast_to __getitem__ select narrow as_strided
"""
LINEAR = """
    sum mean nansum nanmean cumsum trace diagonal diag diag_embed diagflat tril
    triu neg negative roll flip fliplr flipud rot90 repeat repeat_interleave tile
    broadcast_tensors split tensor_split chunk unbind unsafe_chunk unsafe_split
    split_with_sizes unsafe_split_with_sizes hsplit vsplit dsplit meshgrid
    index_select gather take take_along_dim masked_select unfold fold im2col col2im
    reflection_pad1d reflection_pad2d replication_pad1d
    replication_pad2d pixel_shuffle pixel_unshuffle channel_shuffle
    max_unpool2d max_unpool3d
    native_channel_shuffle upsample_nearest1d upsample_nearest2d upsample_linear1d
    upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
    _upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    affine_grid_generator
    real imag view_as_real view_as_complex conj conj_physical resolve_conj
    resolve_neg fft ifft rfft irfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn
    hfft ihfft hfft2 ihfft2 hfftn ihfftn fftshift ifftshift
    sort msort topk kthvalue cummax cummin max min amax amin aminmax median nanmedian
    mode unsqueeze_copy alias_copy as_strided_copy diagonal_copy expand_copy narrow_copy
    permute_copy split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy
    unfold_copy view_copy atleast_1d atleast_2d atleast_3d combinations sum_to_size
    sparse_mask to_sparse to_dense values coalesce
    item tolist numpy register_hook retain_grad backward zeros_like ones_like
    full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty
    new_tensor is_floating_point size dim numel stride data_ptr is_contiguous
    type_of get_device storage_offset is_complex element_size nelement
"""
PUTTING = """
    add sub subtract rsub cat concat concatenate stack hstack vstack dstack
    column_stack row_stack where masked_fill masked_scatter index_put index_add
    index_copy index_fill scatter scatter_add slice_scatter select_scatter
    diagonal_scatter copy __setitem__ lerp fill zero pad
    constant_pad_nd put complex diff block_diag cartesian_prod
"""


def keeps_role(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that only moves values; what was noted of them still holds."""
    out = func(*args, **kwargs)
    note = role(args[0]) if args else None
    if note is not None and isinstance(out, Tensor) and out is not args[0]:
        set_role(out, note)
    return out


def _noise(func: Callable[..., Any], x: Any, p: float, train: bool) -> Any:
    """Alpha dropout puts in constants of its own while training."""
    out = keeps_role(func, x, p, train)
    if train and p and carries(out):
        report(func, out)
    return out


def zeroed(value: Any) -> Any:
    """Replace what carries relevance by zeros, in nested arguments too.

    Args:
        value: An argument of a torch function.

    Returns:
        The same without any relevance; the zeros take no memory.
    """
    if isinstance(value, list | tuple):
        return type(value)([zeroed(item) for item in value])
    if isinstance(value, dict):
        return {key: zeroed(item) for key, item in value.items()}
    if carries(value):
        return value.new_zeros(()).expand(value.shape)
    return value


def affine(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that adds or puts in constants, and enter them in the ledger.

    What the function makes of its constants alone is its value where everything that
    carries relevance is zero. It is computed in the backward pass, if at all.

    Args:
        func: A function that is jointly linear in its tensors.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        Its result.
    """
    if in_place(func):
        write = _blank if _is_blank(func, *args, **kwargs) else _overwrite
        out = write(func, *args, **kwargs)
        return out if role(args[0]) is None else set_role(args[0], None)
    scope = active_scope()
    if scope is None or scope.collector is None or not torch.is_grad_enabled():
        return func(*args, **kwargs)
    out = func(*args, **kwargs)
    constants = _constants((args, *kwargs.values())) + _numbers(func, args, kwargs)
    constants += _integers(func, (args, *kwargs.values()))
    if carries(out):
        parts = [constants] if constants else []
        if func.__name__ in _JOINING:
            parts = _by_name(constants, scope.constants.parameter_name)
        for own in parts:
            _watch(out, func, (args, kwargs), constants, own)
    return out


def _watch(
    out: Tensor,
    func: Callable[..., Any],
    given: Any,
    constants: list[Any],
    own: list[Any],
) -> None:
    """Enter what a function makes of some of its constants alone."""
    others = {id(c) for c in constants} - {id(c) for c in own}
    kept = Kept(_without(zeroed(given), others) if others else zeroed(given))

    def constant() -> Tensor:
        args, kwargs = kept.values
        result: Tensor = func(*args, **kwargs)
        return result

    watch_source(out, constant, _origin(own, func))


def _by_name(
    constants: list[Any], name_of: Callable[[Tensor], str | None]
) -> list[list[Any]]:
    """Part constants that have names of their own, such as the tokens of a class."""
    names = [name_of(c) if isinstance(c, Tensor) else None for c in constants]
    if None in names or len(set(names)) < 2:
        return [constants] if constants else []
    found: dict[Any, list[Any]] = {}
    for constant, name in zip(constants, names, strict=True):
        found.setdefault(name, []).append(constant)
    return list(found.values())


def _without(value: Any, left: set[int]) -> Any:
    """Put zeros in place of some tensors, in nested arguments too."""
    if isinstance(value, list | tuple):
        return type(value)([_without(item, left) for item in value])
    if isinstance(value, dict):
        return {key: _without(item, left) for key, item in value.items()}
    return torch.zeros_like(value) if id(value) in left else value


def _is_blank(
    func: Callable[..., Any], base: Tensor, *args: Any, **kwargs: Any
) -> bool:
    """Tell whether a function puts constants in place of all that relevance is in."""
    owner = owner_of(base)
    if (
        not carries(owner)
        or owner.is_leaf
        or _any_carries((args, tuple(kwargs.values())))
    ):
        return False
    everything = func.__name__ in _FILLING or (
        func.__name__ == "__setitem__" and _is_everything(args[0])
    )
    return everything and base.numel() == owner.numel()


def _is_everything(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is Ellipsis or part == slice(None) for part in parts)


def _blank(func: Callable[..., Any], base: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Overwrite a tensor by constants: it is one from then on, wherever it is added."""
    drop_history(owner_of(base))
    with torch.no_grad():
        return func(base, *args, **kwargs)


def _overwrite(
    func: Callable[..., Any], base: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """`affine` for functions that overwrite their first argument, or a view's base."""
    scope = active_scope()
    if scope is None or scope.collector is None or not torch.is_grad_enabled():
        return func(base, *args, **kwargs)
    values = (*args, *kwargs.values())
    owner = owner_of(base)
    constants = _constants(values) + _numbers(func, (base, *args), kwargs)
    if not carries(owner):
        if not _any_carries(values):
            return func(base, *args, **kwargs)
        constants += [owner] if bool(owner.any()) else []
    before = None if carries(owner) else owner.detach().clone()
    part = (base.shape, base.stride(), base.storage_offset() - owner.storage_offset())
    kept = Kept((zeroed(args), {key: zeroed(v) for key, v in kwargs.items()}))
    out = func(base, *args, **kwargs)
    if carries(owner) and constants:

        def constant() -> Tensor:
            given, named = kept.values
            target = _laid_out_as(owner)
            if before is not None:
                target.copy_(before)
            func(target.as_strided(*part), *given, **named)
            return target

        watch_source(owner, constant, _origin(constants, func))
    return out


def _laid_out_as(owner: Tensor) -> Tensor:
    """Return zeros in which a view of the owner finds its place."""
    steps = zip(owner.shape, owner.stride(), strict=True)
    extent = 1 + sum((size - 1) * step for size, step in steps) if owner.numel() else 0
    return owner.new_zeros(extent).as_strided(owner.shape, owner.stride(), 0)


def _any_carries(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_any_carries(item) for item in value)
    return carries(value)


def _constants(value: Any) -> list[Any]:
    """List the tensors of values among nested arguments that carry no relevance."""
    if isinstance(value, list | tuple):
        return [constant for item in value for constant in _constants(item)]
    constant = isinstance(value, Tensor) and _has_values(value)
    return [value] if constant and value.numel() and not carries(value) else []


def _has_values(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _integers(func: Callable[..., Any], value: Any) -> list[Any]:
    """List the integer tensors that a function without indices puts in."""
    if func.__name__ not in _WITHOUT_INDICES:
        return []
    if isinstance(value, list | tuple):
        return [found for item in value for found in _integers(func, item)]
    whole = isinstance(value, Tensor) and not _has_values(value)
    return [value] if whole and value.dtype != torch.bool else []


def _numbers(func: Callable[..., Any], args: Any, kwargs: Any) -> list[complex]:
    """List the numbers other than 0 that a function puts in."""
    first = _NUMBERS_FROM.get(func.__name__.strip("_"))
    if first is None:
        return []
    given = (*args[first:], kwargs.get("value", 0), kwargs.get("other", 0))
    return [v for v in given if isinstance(v, _NUMBERS) and v != 0]


def _origin(constants: list[Any], func: Callable[..., Any]) -> Any:
    only = constants[0] if constants and _share_name(constants) else None
    return only if isinstance(only, Tensor) else func.__name__.strip("_")


def _share_name(constants: list[Any]) -> bool:
    if len(constants) == 1:
        return True
    scope = active_scope()
    assert scope is not None
    tensors = [c for c in constants if isinstance(c, Tensor)]
    names = {scope.constants.parameter_name(c) for c in tensors}
    return len(tensors) == len(constants) and len(names) == 1 and None not in names


def _add(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A + b and a - b: the hot case of `affine`, without a second evaluation."""
    if not kwargs and not in_place(func) and all(map(carries, args)):
        return func(*args)
    values = [*args[:2], *(kwargs[k] for k in ("input", "other") if k in kwargs)]
    if in_place(func) and not (carries(values[0]) and _is_whole(values[0])):
        return affine(func, *args, **kwargs)
    note = role(values[0])
    out = func(*args, **kwargs)
    if not carries(out):
        return out
    if out is values[0] and note is not None:
        set_role(out, None)
    alpha = kwargs.get("alpha", 1)
    signs = (-alpha, 1) if "rsub" in func.__name__ else (1, _sign(func) * alpha)
    for value, sign in zip(values, signs, strict=False):
        if isinstance(value, Tensor) and not carries(value):
            watch_source(out, value if sign == 1 else value * sign, value)
        elif isinstance(value, _NUMBERS) and value != 0:
            watch_source(out, 1.0 * value * sign, func.__name__.strip("_"))
            if note == "activated":
                set_role(out, "gate")
    return out


def _is_whole(x: Tensor) -> bool:
    """Tell a view whose every write a hook on its owner sees in the same order."""
    owner = owner_of(x)
    laid_out = owner.is_contiguous() and x.is_contiguous()
    return owner is x or (laid_out and owner.numel() == x.numel())


def _detach(func: Callable[..., Any], x: Tensor) -> Tensor:
    out: Tensor = func(x)
    mark_alias(out, x)
    return out


def _require_grad(func: Callable[..., Any], x: Tensor, on: bool = True) -> Tensor:
    """While a ledger is written, relevance starts only where it is read."""
    scope = active_scope()
    gathers = is_distributed(x)  # so are parameters made that are gathered for a call
    if scope is not None and scope.collector is not None and not gathers:
        return x
    result: Tensor = func(x, on)
    return result


def _choose(func: Callable[..., Any], a: Any, other: Any, **kwargs: Any) -> Any:
    """max(a, b) element by element: the winner takes all."""
    out = func(a, other, **kwargs)
    for value in (a, other):
        if carries(out) and isinstance(value, Tensor) and not carries(value):
            watch_source(out, torch.where(out == value, out.detach(), 0.0), value)
    return out


def _extreme(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """max(x), max(x, dim), or max(a, b) element by element."""
    pair = len(args) == 2 and isinstance(args[1], Tensor)
    return (_choose if pair else _call)(func, *args, **kwargs)


def _call(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return func(*args, **kwargs)


def _sign(func: Callable[..., Any]) -> int:
    return 1 if func.__name__.startswith("add") else -1


SHAPES = spellings(SHAPE, torch.Tensor.unflatten)
_NUMBERS = (int, float, complex)
_FILLING = {"copy_", "fill_", "zero_"}
_JOINING = {"cat", "concat", "concatenate", "stack", "hstack", "vstack"}
_WITHOUT_INDICES = {"where", "cat", "concat", "stack", "masked_fill"}
_NUMBERS_FROM = {
    "add": 1,
    "sub": 1,
    "subtract": 1,
    "masked_fill": 2,
    "where": 1,
    "index_fill": 3,
    "fill": 1,
    "pad": 3,
    "constant_pad_nd": 2,
    "setitem": 2,
    "scatter": 3,
}
"""The place of the first argument that may be a number to put in."""

add_functions(table(spellings(LINEAR, torch.Tensor.backward, torch.meshgrid), None))
add_functions(table(SHAPES, None))
add_functions(table(spellings(SAME, F.dropout), keeps_role))
add_functions(table(spellings(NOISE), _noise))
add_functions(table(spellings(PUTTING), affine))
add_functions(table(spellings("add sub subtract rsub"), _add))
add_functions(table(spellings("detach"), _detach))
add_functions(table([torch.Tensor.requires_grad_], _require_grad))
add_functions(table(spellings("max min"), _extreme))
add_functions(table(spellings("maximum minimum fmax fmin"), _choose))

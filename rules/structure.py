"""What moves, sums and picks: functions that are linear.

Not a rule but the ground under all of them. A linear function needs nothing, since its
own gradient conserves relevance; of one that puts in constants see `affine`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..engine import (
    active_scope,
    add_functions,
    carries,
    is_distributed,
    mark_alias,
    report,
    role,
    set_role,
    spellings,
    table,
    watch_source,
)
from .affine import add, affine

__all__ = ["SHAPES", "keeps_role"]

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


SHAPES = spellings(SHAPE, torch.Tensor.unflatten)
add_functions(table(spellings(LINEAR, torch.Tensor.backward, torch.meshgrid), None))
add_functions(table(SHAPES, None))
add_functions(table(spellings(SAME, F.dropout), keeps_role))
add_functions(table(spellings(NOISE), _noise))
add_functions(table(spellings(PUTTING), affine))
add_functions(table(spellings("add sub subtract rsub"), add))
add_functions(table(spellings("detach"), _detach))
add_functions(table([torch.Tensor.requires_grad_], _require_grad))
add_functions(table(spellings("max min"), _extreme))
add_functions(table(spellings("maximum minimum fmax fmin"), _choose))

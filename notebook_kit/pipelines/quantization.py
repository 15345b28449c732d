"""Linear layers with 8-bit weights, for faster answers on a CPU at a small loss of accuracy, in every family.

Weights are rounded once, with one scale per output; activations are rounded at run time, with one scale and one shift per
token. So the result for a token does not depend on the rest of the batch, except for an occasional value that rounds the
other way, and for what is done only where it is faster for this number of rows (below). Products are summed as integers, by the
fastest way that this processor computes exactly: see `nn/int8.py`. Large
tables of token embeddings are rounded too, unless the output layer reads their exact weights. All other layers stay in float32,
except that attention to long inputs and convolutions over time are computed in bfloat16 where that is faster.
A step of generation multiplies few rows, and keeps them in bfloat16 where that is faster, with a second copy of the 8-bit weights, of
matrices of up to two million: see `nn/int8_few.py`. What an encoder-decoder keeps of its encoder for these steps is rounded to 8 bits
too: see `nn/few_queries.py`.

Source: Dettmers et al., LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, 2022, section 2.1
("vector-wise quantization", and "zeropoint quantization" for the shifts).

A few columns of the states of a trained model hold values many times as large as all others, and would stretch the steps of
their tokens. One column in 24 is therefore multiplied in float32. Of states in bfloat16, that is only done if these columns hold more than
half of the sum of squares: nothing else is stretched, and the rounding of the other weights then counts as much.

Measured by `benchmarks/int8_quality.py` on an AMD EPYC with VNNI instructions: of 1,000 sentence vectors of all-MiniLM-L6-v2, the
mean cosine similarity to float32 is 0.9997 (minimum 0.9989), and the nearest other sentence is the same for 96.5 %. With one column
in 48 it is for 95.8 %, and with all columns rounded for 92.7 % (cosine 0.9987, minimum 0.9960).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from notebook_kit.errors import InputError, a_kind, near_matches, notice
from notebook_kit.nn import int8_few
from notebook_kit.nn.attention import AttentionSite
from notebook_kit.nn.few_rows import LEAST_AHEAD, is_ordinary_call
from notebook_kit.nn.heap import MOST_AHEAD, use_huge_pages
from notebook_kit.nn.inputs import inputs_of, vocabulary_size
from notebook_kit.nn.int8 import MANY, ONE, Int8Product, best_product, float_seconds, seconds
from notebook_kit.nn.int8_rows import FEW, TINY, added, rounded_rows, shared_rows
from notebook_kit.nn.largest import largest
from notebook_kit.nn.patches import sides

__all__ = ["Int8Embedding", "Int8Linear", "Int8Output", "dequantized", "quantized"]

# Heads with few labels cost little time and affect results most.
FEWEST_OUTPUTS = 16
# Tables of fewer vectors, such as positions, take little memory.
FEWEST_VECTORS = 2048
# So many of the likeliest next tokens get exact logits, for up to so many rows: those of a step of generation.
EXACT_TOKENS, EXACT_ROWS = 64, 64
# One in so many input columns, the one with the largest values, is multiplied in float32.
COLUMNS_PER_EXACT = 24
# One row is multiplied with this before FBGEMM rounds it, whose steps are at least 6e-5: the states may be much smaller.
RAISED = 2.0**10
# Columns that hold at most this share of the sum of squares are rounded with the others where states are not.
LEAST_SHARE = 0.5


class Int8Linear(nn.Module):
    """A linear layer with weights and activations rounded to 8 bits (weights to 7 on processors without VNNI instructions).

    Args:
        linear: The layer whose weights are rounded, a `torch.nn.Linear` or GPT-2's projection. It is not modified.
        columns: The inputs, `(count,)`, that are multiplied exactly, in float32: those with the largest values.
        rows: The number of tokens for which it should be fastest.
        share: The part of the sum of squares of the inputs that these columns hold.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> linear, x = torch.nn.Linear(64, 32), torch.randn(2, 5, 64)
        >>> bool((Int8Linear(linear)(x) - linear(x)).abs().max() < 0.03)
        True
    """

    scale: Tensor
    rounded: Tensor
    raised: Tensor
    columns: Tensor
    exact: Tensor
    one: Tensor
    zeros: Tensor

    def __init__(self, linear: nn.Module, columns: Tensor | None = None, rows: int = MANY, share: float = 1.0) -> None:
        super().__init__()
        weight, bias = _rows_of(linear), getattr(linear, "bias", None)
        if weight is None:
            raise InputError(
                f"{a_kind(linear, starts=True)} is not a linear layer.", next_step="Pass a torch.nn.Linear."
            )
        self.out_features, self.in_features = weight.shape
        self._like = (_without_values(linear),)  # in a tuple, so as not to be a submodule
        self.product, self._rows, self._share = best_product(rows), rows, share
        with torch.no_grad():
            columns = weight.new_empty(0, dtype=torch.int64) if columns is None else columns
            weight = weight.detach().float()
            self.register_buffer("columns", columns)
            self.register_buffer("rounded", torch.ones_like(weight[0]).index_fill(0, columns, 0.0))  # the other columns
            self.register_buffer("raised", RAISED * self.rounded, persistent=False)
            self.register_buffer("one", weight.new_ones(1), persistent=False)
            self.register_buffer("zeros", weight.new_zeros(self.in_features), persistent=False)
            exact, weight = weight[:, columns], weight.index_fill(1, columns, 0.0)
            scale = weight.abs().amax(dim=1).clamp_min(TINY) / self.product.levels
            rounded = (weight / scale[:, None]).round().to(torch.int8)
            self.packed = _packed(self.product, rounded, scale)
            self._few: dict[tuple[int, int], tuple[Tensor, ...] | None] = {}
            self.register_buffer("scale", scale)
            sums = rounded.sum(dim=1).float() * scale
            shift = torch.zeros_like(scale) if bias is None else bias.detach().float()
            # (count + 2, out): for the shifts of activations, the exact columns, and the bias
            self.register_buffer("exact", torch.cat((sums[None], exact.t(), shift[None])))
            self.has_bias = bias is not None
        self.packed_bytes = self.in_features * self.out_features
        self.rounded_parameters = self.packed_bytes + self.has_bias * self.out_features

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):  # what mixed precision would gain, 8 bits gain already
            with torch.autocast("cpu", enabled=False):
                return self.forward(x.float())  # hooks are called once
        if x.dtype != torch.float32:
            raise InputError(
                f"A layer of 8 bits computes in float32; its input is {a_kind(x)} of {str(x.dtype).removeprefix('torch.')}.",
                next_step="Leave the model and its inputs in float32, or turn it back first: dequantized(model).",
            )
        with torch.no_grad() if torch.is_grad_enabled() else nullcontext():
            out = self._multiplied(x.reshape(-1, self.in_features), x)  # (tokens, out)
            return out if x.dim() == 2 else out.view(*x.shape[:-1], self.out_features)

    def activated_in_place(self, x: Tensor, finish: Callable[[Tensor], Any]) -> Tensor:
        """`finish(self(x))`, while parts of the result are in the processor's cache. It is called by `nn.layers.activated`.

        Args:
            x: `(..., in)`, float32.
            finish: Changes each number of a tensor in place.
        """
        return self._multiplied(x.reshape(-1, self.in_features), x, finish).view(*x.shape[:-1], self.out_features)

    def _multiplied(self, flat: Tensor, x: Tensor, finish: Callable[[Tensor], Any] | None = None) -> Tensor:
        own, product, rows = self._buffers, self.product, flat.shape[0]  # several times as fast as the attributes
        columns: Any = own["columns"]
        others: Any = own["rounded"]
        exact: Any = own["exact"]
        raised: Any = own["raised"]
        # An ordinary call before sizes, on which a graph must not depend.
        if self._rows == ONE and is_ordinary_call() and rows <= int8_few.MOST_ROWS:
            few = self._few.get((rows, torch.get_num_threads()), ())
            if few == ():
                few = self._of_few(rows)
            if few is not None:
                out = int8_few.product(flat, *few)
                if finish is not None:
                    finish(out)
                return out
        if rows == 1 and product.one_row is not None:
            out = product.one_row(flat * raised, self.packed)
            # 1, or NaN if a value is NaN or infinite, which FBGEMM would round to a finite number.
            one = torch.addmv(self.one, flat, self.zeros).view(1, 1)
            out.addmm_(torch.cat((flat.index_select(1, columns), one), dim=1), exact[1:], beta=1 / RAISED)
            if finish is not None:
                finish(out)
            return out
        if rows > 1 and (rows <= FEW or not product.rounds) and is_ordinary_call():
            levels, step, factors = shared_rows(x, flat, columns, others, product.rounds)
        else:
            levels, step, factors = rounded_rows(flat, columns, others, product.rounds, reuse=True)
        return added(product.multiply(levels, self.packed), step, factors, exact, finish)

    def _of_few(self, rows: int) -> tuple[Tensor, ...] | None:
        """What `int8_few.product` takes, where it is the fastest for this number of rows."""
        threads = torch.get_num_threads()
        count = 0 if self._share <= LEAST_SHARE else len(self.columns)
        shape = self.out_features, self.in_features, count
        found = None
        if rows and int8_few.gain(self.product, rows, *shape, threads) >= int8_few.LEAST_GAIN:
            found = next(
                (few for few in list(self._few.values()) if few is not None), None
            )  # a list, as threads add to it
            if found is None:
                with torch.inference_mode(False), torch.no_grad():
                    weight, scale = self.product.unpack(self.packed).contiguous(), self.scale
                    if count < len(self.columns):
                        weight, scale = self._with_columns(weight)
                    ones = torch.ones_like(scale, dtype=torch.bfloat16)
                found = weight, ones, scale, self.exact[-1], self.exact[1 : count + 1], self.columns[:count]
        self._few[rows, threads] = found
        return found

    def _with_columns(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weights with their exact columns rounded too, and the scales, which may be larger."""
        exact = self.exact[1:-1].t()
        scale = torch.maximum(self.scale, exact.abs().amax(dim=1) / self.product.levels)
        weight = (weight * (self.scale / scale)[:, None]).round()
        weight[:, self.columns] = (exact / scale[:, None]).round()
        return weight.to(torch.int8), scale

    def to_float(self) -> nn.Module:
        """A layer of the original kind in float32, with the rounded weights."""
        layer = copy.deepcopy(self._like[0]).to_empty(device="cpu")
        with torch.no_grad():
            weight, target = self.product.unpack(self.packed).float() * self.scale[:, None], _rows_of(layer)
            assert target is not None
            weight[:, self.columns] = self.exact[1:-1].t()
            target.copy_(weight)
            if self.has_bias:
                layer.get_parameter("bias").copy_(self.exact[-1])
        return layer

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the weights as an ordinary tensor, which any processor can pack."""
        state = self.__dict__ | {
            "packed": self.product.unpack(self.packed),
            "levels": self.product.levels,
            "_few": {},
        }
        del state["product"]
        return state

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.product.unpack(self.packed)  # int8
        destination[f"{prefix}share"] = self.scale.new_tensor(self._share)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        given = dict(state_dict)
        rounded, share = (given.pop(f"{prefix}{name}", None) for name in ("weight", "share"))
        columns, exact = (given.get(f"{prefix}{name}") for name in ("columns", "exact"))
        if (
            columns is not None
            and exact is not None
            and exact.shape == (columns.numel() + 2, self.out_features)
            and not torch.equal(columns, self.columns)
        ):
            # Of another number where they hold another share. Other layers may have the same tensor, and keep theirs.
            self.columns = self.columns.new_empty(columns.shape)
            self.exact = self.exact.new_empty(exact.shape)
        super()._load_from_state_dict(given, prefix, *others)
        _, _, missing, _, errors = others
        if rounded is None:
            missing.append(f"{prefix}weight")
        elif rounded.dtype != torch.int8 or rounded.shape != (self.out_features, self.in_features):
            errors.append(
                f"{prefix}weight is {rounded.dtype} {tuple(rounded.shape)}; expected int8 "
                f"{(self.out_features, self.in_features)}, from the state_dict of a model with 8-bit weights."
            )
        else:
            self._share = 1.0 if share is None else float(share)  # without it, the columns stay exact
            self._pack(rounded, int(rounded.abs().max()) if rounded.numel() else 0)

    def _pack(self, rounded: Tensor, levels: int) -> None:
        """Take weights, which may have been written on a processor with more exact products."""
        if levels > self.product.levels:
            ratio = levels / self.product.levels
            rounded = (rounded / ratio).round().to(torch.int8)
            self.scale *= ratio
            self.exact[0] = rounded.sum(dim=1).float() * self.scale
        self._few, self.raised = {}, RAISED * self.rounded
        self.packed = _packed(self.product, rounded, self.scale)

    def __setstate__(self, state: dict[str, Any]) -> None:
        levels = state.pop("levels")
        super().__setstate__(state)
        self.product = best_product(self._rows)
        self._pack(self.packed, levels)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.has_bias}"


class Int8Output(Int8Linear):
    """The output layer of a language model that shares its weights with the token embeddings, which stay exact.

    The rounded weights choose the likeliest 64 tokens of a step, and the exact ones compute their logits, so that which token is the
    likeliest does not depend on the rounding of this layer. Calls of more than 64 rows, such as long prompts, stay rounded. If the
    columns that are multiplied in float32 hold at most half of the sum of squares, only half of them are: over a whole vocabulary, they
    take as long as a layer.

    Args:
        linear, columns, rows, share: As for `Int8Linear`.
        embeddings: The module with the exact weights, `(vocabulary, in)`.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> table, output, x = torch.nn.Embedding(500, 64), torch.nn.Linear(64, 500, bias=False), torch.randn(1, 64)
        >>> output.weight = table.weight
        >>> rounded, exact = Int8Output(output, None, 1, table)(x), output(x)
        >>> likeliest = exact.topk(10).indices
        >>> torch.allclose(rounded.gather(1, likeliest), exact.gather(1, likeliest), atol=1e-5)
        True
    """

    def __init__(
        self, linear: nn.Module, columns: Tensor | None, rows: int, embeddings: nn.Module, share: float = 1.0
    ) -> None:
        if columns is not None and share <= LEAST_SHARE:
            columns = columns[: (len(columns) + 1) // 2]
        super().__init__(linear, columns, rows, share)
        self._embeddings = (embeddings,)  # in a tuple, as it is a submodule elsewhere
        self.rounded_parameters -= self.packed_bytes  # the weights are parameters of that module

    @property
    def embeddings(self) -> nn.Module:
        """The module with the exact weights."""
        return self._embeddings[0]

    def _multiplied(self, flat: Tensor, x: Tensor, finish: Callable[[Tensor], Any] | None = None) -> Tensor:
        out = super()._multiplied(flat, x)  # an output layer has no activation
        weight: Any = self.embeddings.weight
        if (
            flat.shape[0] > EXACT_ROWS
            or weight.shape != (self.out_features, self.in_features)
            or not is_ordinary_call()
        ):
            return out
        _, likeliest = largest(out, min(EXACT_TOKENS, self.out_features))  # (rows, 64)
        exact = torch.bmm(functional.embedding(likeliest, weight), flat[:, :, None])[:, :, 0]
        return out.scatter_(1, likeliest, exact + self.exact[-1][likeliest])


class Int8Embedding(nn.Module):
    """A table of vectors rounded to 8 bits, each with one scale: a quarter of the memory.

    Args:
        table: A `torch.nn.Embedding` of shape (count, width). It is not modified.

    Example:
        >>> import torch
        >>> table = torch.nn.Embedding(5000, 64)
        >>> ids = torch.tensor([[1, 2, 4999]])
        >>> bool((Int8Embedding(table)(ids) - table(ids)).abs().max() < 0.02)
        True
    """

    rounded: Tensor
    scale: Tensor

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = table.weight.shape
        self.padding_idx = table.padding_idx
        self.rounded_embeddings = table.weight.numel()
        with torch.no_grad():
            weight = table.weight.detach().float()
            scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(TINY) / 127  # (count, 1)
            self.register_buffer("scale", scale)
            self.register_buffer("rounded", (weight / scale).round().to(torch.int8))

    @property
    def weight(self) -> Tensor:
        """The whole table in float32, computed at each call."""
        return self.rounded * self.scale

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors `(..., width)` of ids `(...)`."""
        return functional.embedding(ids, self.rounded) * functional.embedding(ids, self.scale)

    def to_float(self) -> nn.Embedding:
        """A table in float32, with the rounded values."""
        return nn.Embedding.from_pretrained(self.weight, freeze=False, padding_idx=self.padding_idx)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


def _packed(product: Int8Product, rounded: Tensor, scale: Tensor) -> Any:
    """Weights as the product takes them, in large pages, from which steps of generation read them a sixth faster."""
    if LEAST_AHEAD <= rounded.numel() <= MOST_AHEAD:
        use_huge_pages()
    return product.pack(rounded, scale)


def _rows_of(layer: nn.Module) -> Tensor | None:
    """The weight of a linear layer as `(out, in)`; None for any other module."""
    if type(layer) is nn.Linear:
        return layer.weight
    # GPT-2's weights are `(in, out)`, here and in transformers, whose models work as well.
    return layer.weight.t() if type(layer).__name__ in ("GPT2Projection", "Conv1D") else None  # type: ignore[operator]


def _without_values(layer: nn.Module) -> nn.Module:
    """A copy without memory for its parameters."""
    empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in layer.parameters()}
    return copy.deepcopy(layer, empty)


def quantized(model: nn.Module, kind: str = "int8") -> nn.Module:
    """A copy of `model` whose linear layers have 8-bit weights, except layers with fewer than 16 outputs.

    Args:
        model: A model on the CPU, in float32.
        kind: `"int8"`.

    Raises:
        InputError: for another `kind`, device or dtype, and for a model without such layers.
    """
    if kind != "int8":
        raise InputError(
            f"quantize is {kind!r}. {near_matches(str(kind), ['int8'])}".rstrip(), next_step='Pass quantize="int8".'
        )
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
        raise InputError(
            f'quantize="int8" requires a model on the CPU in float32; this one is on {parameter.device.type} in '
            f"{str(parameter.dtype).removeprefix('torch.')}.",
            next_step='Pass device="cpu" and no dtype; on an accelerator, use dtype="bfloat16" instead.',
        )
    rows = ONE if callable(generates := getattr(model, "can_generate", None)) and generates() else MANY
    # Several times, since the machine may be busy with other things.
    slower = min(seconds(best_product(rows), rows) / float_seconds(rows) for _ in range(3))
    if slower > 1.2:
        notice(
            f"On this processor, products of 8 bits take {slower:.1f} times as long as those of float32. "
            'quantize="int8" saves memory here, but no time.'
        )
    model = copy.deepcopy(model)
    trial = _trial(model)
    owner: Any = model
    shared = owner.get_input_embeddings() if rows == ONE else None
    made: dict[nn.Module, Int8Linear] = {}  # a layer may be in several places
    for parent in list(model.modules()):
        if isinstance(parent, nn.TransformerEncoderLayer):  # reads the weights of its layers
            continue
        for name, child in list(parent._modules.items()):
            weight = None if child is None else _rows_of(child)
            if child is not None and weight is not None and len(weight) >= FEWEST_OUTPUTS:
                if child not in made:
                    # An encoder of a model that generates reads all of a picture or a recording at once.
                    found = trial.get(child, _Inputs(None, 1.0, 0))
                    given = child, found.columns, MANY if found.rows >= MANY else rows
                    if shared is not None and child.weight is shared.weight:
                        made[child] = Int8Output(*given, shared, found.share)
                    else:
                        made[child] = Int8Linear(*given, found.share)
                parent._modules[name] = made[child]
    if not made:
        raise InputError(
            f'quantize="int8" has nothing to do: {type(model).__name__} has no linear layers with {FEWEST_OUTPUTS} outputs.',
            next_step="Leave quantize out.",
        )
    _round_tables(model)
    _set_exact(model, False)
    return model


def _set_exact(model: nn.Module, exact: bool) -> None:
    """Say to each attention of a model whether it is computed exactly."""
    for module in model.modules():
        for site in getattr(module, "sites", ()):
            if isinstance(site, AttentionSite):  # the module may be of another library
                site.exact = exact


def _round_tables(model: nn.Module) -> None:
    """Replace large tables of vectors, except those whose exact weights an output layer reads."""
    exact = {id(layer.embeddings.weight) for layer in model.modules() if isinstance(layer, Int8Output)}
    made: dict[int, Int8Embedding] = {}  # a table may be in several places
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if type(child) is not nn.Embedding or child.max_norm is not None:  # these change as they are read
                continue
            if len(child.weight) >= FEWEST_VECTORS and id(child.weight) not in exact:
                if id(child.weight) not in made:
                    made[id(child.weight)] = Int8Embedding(child)
                parent._modules[name] = made[id(child.weight)]


class _Inputs(NamedTuple):
    """What a trial finds of the inputs of a layer.

    Attributes:
        columns: Those with the largest values.
        share: The part of the sum of squares that they hold.
        rows: The most rows of a call.
    """

    columns: Tensor | None
    share: float
    rows: int


@torch.no_grad()
def _trial(model: nn.Module) -> dict[nn.Module, _Inputs]:
    """For each linear layer that a trial reaches, what its inputs are like.

    Which columns of the states are large is a property of the weights rather than of a text, so that a trial on random tokens,
    pixels or sounds finds them.

    Source: Dettmers et al., LLM.int8(), 2022, section 4.
    """
    largest: dict[nn.Module, Tensor] = {}
    squares: dict[nn.Module, Tensor] = {}
    most_rows: dict[nn.Module, int] = {}

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        rows = inputs[0].reshape(-1, inputs[0].shape[-1])
        values = rows.abs().amax(dim=0)
        largest[layer] = torch.maximum(largest.get(layer, values), values)
        squares[layer] = squares.get(layer, 0) + torch.linalg.vector_norm(rows, dim=0).square_()
        most_rows[layer] = max(most_rows.get(layer, 0), len(rows))

    hooks = [layer.register_forward_pre_hook(look) for layer in model.modules() if _rows_of(layer) is not None]
    try:
        with torch.device("cpu"):
            model(**_random_inputs(model))
    except Exception:  # a model that takes other inputs: all columns are rounded
        pass
    finally:
        for hook in hooks:
            hook.remove()
    # One tensor for layers that read the same states, which then share their rounding.
    same: dict[tuple[int, ...], Tensor] = {}
    found: dict[nn.Module, _Inputs] = {}
    for layer, values in largest.items():
        chosen = values.topk(len(values) // COLUMNS_PER_EXACT).indices
        columns = same.setdefault(tuple(chosen.tolist()), chosen)
        share = squares[layer][columns].sum() / squares[layer].sum()  # NaN if there are none: then they stay exact
        found[layer] = _Inputs(columns, float(share), most_rows[layer])
    return found


def _random_inputs(model: nn.Module) -> dict[str, Tensor]:
    """Random tokens, pixels or sound, as many as a short text, two images or a second have."""
    generator = torch.Generator().manual_seed(0)
    inputs = inputs_of(model)
    if inputs.main == "pixel_values":
        config = model.config
        size, channels = getattr(config, "image_size", 224), getattr(config, "num_channels", 3)
        height, width = sides(size)
        return {"pixel_values": torch.randn(2, channels, height, width, generator=generator, dtype=torch.float32)}
    if inputs.main in ("input_values", "input_features"):
        return _random_sound(model, inputs.main, generator)
    ids = torch.randint(vocabulary_size(model) or 1, (4, 16), generator=generator)
    return {"input_ids": ids} | ({"decoder_input_ids": ids} if inputs.takes("decoder_input_ids") else {})


def _random_sound(model: nn.Module, name: str, generator: torch.Generator) -> dict[str, Tensor]:
    """A waveform of a second, or a spectrogram of the length that the model takes."""
    config: Any = model.config
    given: dict[str, Tensor] = {}
    shape: tuple[int, ...]
    if name == "input_features":  # Whisper: two frames per position
        shape = (1, config.num_mel_bins, 2 * config.max_source_positions)
        given["decoder_input_ids"] = torch.randint(config.vocab_size, (1, 16), generator=generator)
    elif bins := getattr(config, "num_mel_bins", None):
        shape = (1, config.max_length, bins)
    else:
        shape = (1, 16_000)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float32), **given}


def dequantized(model: nn.Module) -> nn.Module:
    """A copy of a model with 8-bit weights that computes in float32, so that it can be trained and saved.

    Weights keep their rounded values, except for an output layer that shares the exact weights of the token embeddings. Where
    the exact weights are at hand, load them again instead.

    Args:
        model: The model of a pipeline that was created with `quantize="int8"`.

    Returns:
        A model in evaluation mode; `model.train()` and the Trainer take it.

    Raises:
        InputError: If the model has no 8-bit layers.

    Example:
        >>> from notebook_kit import dequantized, pipeline
        >>> pipe = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment", device="cpu", quantize="int8")
        >>> model = dequantized(pipe.model)
        >>> model.num_parameters(only_trainable=True) == pipe.model.num_parameters()
        True
    """
    if not any(isinstance(module, Int8Linear) for module in model.modules()):
        raise InputError(
            f"{type(model).__name__} has no 8-bit layers.",
            next_step='Pass the model of a pipeline that was created with quantize="int8".',
        )
    model = copy.deepcopy(model)
    made: dict[nn.Module, nn.Module] = {}  # a layer may be in several places
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, Int8Linear | Int8Embedding):
                if child not in made:
                    made[child] = child.to_float()
                parent._modules[name] = made[child]
    _set_exact(model, True)
    if callable(tie := getattr(model, "tie_weights", None)):
        tie()
    return model.eval()

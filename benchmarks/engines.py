"""Against the fastest engines: onnxruntime for encoders, CTranslate2 for models that generate, `transformers` beside both.

All get the same random weights of published sizes and the same inputs, and take turns in one process, in float32 and with 8-bit
weights. A cell is how many times as fast as `transformers` an engine is, with how far its answers are from those of `transformers`:
the largest difference of a logit, or the share of equal tokens. `limit` is the physical one in float32: the time in which this
machine reads the weights once (by the faster of two products with a vector, one of them in oneDNN's layout) or multiplies as many numbers
at the rate of its best product of large matrices, whichever is longer; for models that generate, that of each further token and of an
encoder.

The engines are no dependency of the project: `pip install onnx onnxruntime ctranslate2`. What is not installed is left out.

Run: `python benchmarks/engines.py [part ...] [--threads N] [--rounds N] [--cpu-seconds] [--compile] [--bfloat16] [--output FILE]`
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
import transformers
from measure import alternate, medians, processor, table

import notebook_kit
from notebook_kit.nn.few_rows import MOST_ROWS, available, laid_out, product
from notebook_kit.nn.int8 import best_product
from notebook_kit.pipelines.quantization import quantized

THEIRS, OURS, OURS_INT8, COMPILED = "transformers", "notebook_kit", "notebook_kit int8", "notebook_kit compiled"
OURS_HALF = "notebook_kit bfloat16"
ENGINES = ["onnxruntime", "onnxruntime int8", "CTranslate2", "CTranslate2 int8"]
END = 1
Call = Callable[[], Any]


@dataclass
class Case:
    """One row of the table.

    Attributes:
        what: Its name.
        calls: Engine -> a call that returns the answer: logits as an array, or a list of tokens.
        weights: The matrices that one call multiplies with, and the rows of each product.
        passes: How often one call reads the weights: once, or for each further token.
        encoder: The same of what is multiplied once before these passes.
        short: The same calls with fewer tokens, whose time is subtracted, so that the rest is that of further tokens.
    """

    what: str
    calls: dict[str, Call]
    weights: list[tuple[torch.Tensor, int]]
    passes: int = 1
    short: dict[str, Call] = field(default_factory=dict)
    encoder: list[tuple[torch.Tensor, int]] = field(default_factory=list)


def distance(answer: Any, expected: Any) -> str:
    if isinstance(expected, np.ndarray):
        return f"{np.abs(answer - expected).max():.0e}"
    lengths = [[len(row) for row in rows] for rows in (answer, expected)]
    assert lengths[0] == lengths[1], f"{lengths[0]} tokens instead of {lengths[1]}: not the same work"
    pairs = [pair for ours, theirs in zip(answer, expected, strict=True) for pair in zip(ours, theirs, strict=True)]
    return f"{statistics.mean(a == b for a, b in pairs):.0%}"


SIZE = 1024  # of the matrices whose product shows the best rate


def products(weights: list[tuple[torch.Tensor, int]]) -> float:
    """The multiplications of these products, per one of matrices of `SIZE`."""
    return sum(weight.numel() * rows for weight, rows in weights) / SIZE**3


def limit_calls(case: Case) -> dict[str, Call]:
    """What measures the limit in turns with the engines."""
    matrices = [weight.detach() for weight, _ in case.weights]
    vectors = [torch.ones(matrix.shape[1]) for matrix in matrices]
    copies = [laid_out(matrix, MOST_ROWS) for matrix in matrices] if available() else []
    square, out = torch.ones(SIZE, SIZE), torch.empty(SIZE, SIZE)
    return {
        "reading": lambda: [torch.mv(matrix, vector) for matrix, vector in zip(matrices, vectors, strict=True)],
        "reading by oneDNN": lambda: [product(x[None], w, None) for w, x in zip(copies, vectors, strict=False)],
        "multiplying": lambda: torch.mm(square, square, out=out),
        "multiplying by oneDNN": lambda: product(square, square, None),
    }


def columns(given: argparse.Namespace) -> list[str]:
    more = [name for name, wanted in ((COMPILED, given.compile), (OURS_HALF, given.bfloat16)) if wanted]
    return [OURS, OURS_INT8, *more, *ENGINES]


def measured(case: Case, given: argparse.Namespace) -> list[str]:
    clock = time.process_time if given.cpu_seconds else time.perf_counter
    calls = {**case.calls, **limit_calls(case), **{f"short {name}": call for name, call in case.short.items()}}
    answers = {name: call() for name, call in case.calls.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = alternate(calls, given.rounds, clock=clock)
    for name in case.short:
        times[name] = [long - short for long, short in zip(times[name], times[f"short {name}"], strict=True)]
    cost = medians(times)
    fastest = min(cost["multiplying"], cost["multiplying by oneDNN"])
    reading = min(cost["reading"], cost["reading by oneDNN"]) if available() else cost["reading"]
    limit = fastest * products(case.encoder) + case.passes * max(reading, fastest * products(case.weights))
    cells = [case.what, f"{cost[THEIRS] * 1e3:.1f} ms"]
    for name in columns(given):
        if name in case.calls:
            ratio = statistics.median(b / a for a, b in zip(times[name], times[THEIRS], strict=True))
            cells.append(f"{ratio:.2f} ({distance(answers[name], answers[THEIRS])})")
        else:
            cells.append("")
    return [*cells, f"{cost[THEIRS] / limit:.2f}"]


def both(kind: str, config: Any, folder: Path) -> tuple[Any, Any]:
    """The same weights here and in `transformers`."""
    torch.manual_seed(0)
    theirs = getattr(transformers, kind)(config).eval()
    theirs.save_pretrained(folder)
    return getattr(notebook_kit, kind).from_pretrained(folder), theirs


def linears(model: torch.nn.Module) -> list[torch.Tensor]:
    """The weights of the linear layers, (out, in), the output layer of a language model too."""
    found = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            found.append(module.weight)
        elif isinstance(module, transformers.pytorch_utils.Conv1D):
            found.append(module.weight.t())
    return found


# Encoders --------------------------------------------------------------------------------------------------------------


class Logits(torch.nn.Module):
    """A model as its graph is exported: one tensor in, the logits out."""

    def __init__(self, model: torch.nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name
        self.train(model.training)  # torch.onnx.export restores the mode of the outermost module

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        more = {"attention_mask": torch.ones_like(values)} if self.name == "input_ids" else {}
        return self.model(**{self.name: values}, **more)["logits"]


def onnx_sessions(model: Any, name: str, example: torch.Tensor, folder: Path, threads: int) -> dict[str, Any]:
    """The exported graph of `transformers`' model in float32, and with 8-bit weights of its matrix products."""
    if not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")):
        return {}
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path, small = folder / "model.onnx", folder / "int8.onnx"
    axes = {"values": {0: "batch", 1: "tokens"} if name == "input_ids" else {0: "batch"}, "logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(model, name),
            (example,),
            str(path),
            input_names=["values"],
            output_names=["logits"],
            dynamic_axes=axes,
            dynamo=False,
        )
    # Without VNNI instructions, products of 8-bit weights overflow; reduce_range leaves them 7.
    narrow = best_product().levels < 127
    quantize_dynamic(path, small, weight_type=QuantType.QInt8, reduce_range=narrow, op_types_to_quantize=["MatMul"])
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 3
    return {
        engine: onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
        for engine, file in (("onnxruntime", path), ("onnxruntime int8", small))
    }


def encoder_calls(
    ours: Any, theirs: Any, name: str, values: torch.Tensor, sessions: dict[str, Any], compiled: Any, half: bool
) -> dict[str, Call]:
    def torch_call(model: Any) -> Call:
        def call() -> np.ndarray:
            with torch.inference_mode():
                given = values.to(model.dtype) if values.is_floating_point() else values
                return Logits(model, name)(given).float().numpy()

        return call

    models = {THEIRS: theirs, OURS: ours, OURS_INT8: quantized(ours)} | ({COMPILED: compiled} if compiled else {})
    if half:
        models[OURS_HALF] = copy.deepcopy(ours).to(torch.bfloat16)
    calls = {engine: torch_call(model) for engine, model in models.items()}
    array = values.numpy()
    for engine, session in sessions.items():
        calls[engine] = lambda session=session: session.run(None, {"values": array})[0]
    return calls


def compiled_model(model: Any, given: argparse.Namespace, calls: list[Callable[[Any], object]]) -> Any:
    """A compiled copy, after calls of every shape; its first costs are printed."""
    if not given.compile:
        return None
    compiled = torch.compile(model, dynamic=None)
    for number, call in enumerate(calls, start=1):
        start = time.perf_counter()
        with torch.inference_mode():
            call(compiled)
        print(f"torch.compile, first call of shape {number}: {time.perf_counter() - start:.1f} s", flush=True)
    return compiled


def texts(given: argparse.Namespace) -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = both("DistilBertForSequenceClassification", transformers.DistilBertConfig(), folder)
        inputs = [torch.randint(5, 30000, shape) for shape in ((1, 32), (32, 32), (8, 128))]
        sessions = onnx_sessions(theirs, "input_ids", inputs[0], folder, given.threads)
        ready = compiled_model(ours, given, [lambda model, ids=ids: model(input_ids=ids) for ids in inputs])
        for ids in inputs:
            calls = encoder_calls(ours, theirs, "input_ids", ids, sessions, ready, given.bfloat16)
            weights = [(weight, ids.numel()) for weight in linears(theirs)]
            yield Case("DistilBERT size, {} x {} tokens".format(*ids.shape), calls, weights)


def pictures(given: argparse.Namespace) -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = both("ViTForImageClassification", transformers.ViTConfig(), folder)
        pixels = torch.rand(8, 3, 224, 224)
        sessions = onnx_sessions(theirs, "pixel_values", pixels, folder, given.threads)
        ready = compiled_model(ours, given, [lambda model: model(pixel_values=pixels)])
        calls = encoder_calls(ours, theirs, "pixel_values", pixels, sessions, ready, given.bfloat16)
        yield Case("ViT-base, 8 pictures", calls, [(weight, 8 * 197) for weight in linears(theirs)])


def sounds(given: argparse.Namespace) -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = both("Wav2Vec2ForCTC", transformers.Wav2Vec2Config(), folder)
        waves = torch.randn(2, 80_000)
        sessions = onnx_sessions(theirs, "input_values", waves, folder, given.threads)
        ready = compiled_model(ours, given, [lambda model: model(input_values=waves)])
        calls = encoder_calls(ours, theirs, "input_values", waves, sessions, ready, given.bfloat16)
        weights = [(weight, 2 * 249) for weight in linears(theirs)]  # the convolutions before them are not counted
        yield Case("Wav2Vec2-base, 2 clips of 5 s", calls, weights)


# Models that generate --------------------------------------------------------------------------------------------------


class Names:
    """What CTranslate2's converter asks a tokenizer for: a name per token."""

    additional_special_tokens: list[str] = []

    def __init__(self, count: int, special: dict[int, str]) -> None:
        self.names = [special.get(token, f"t{token}") for token in range(count)]
        self.bos_token = self.eos_token = self.unk_token = self.names[END]

    def get_vocab(self) -> dict[str, int]:
        return {name: token for token, name in enumerate(self.names)}

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.names[token]


def converted(
    kind: str, folder: Path, threads: int, count: int, special: dict[int, str]
) -> tuple[dict[str, Any], list[str]]:
    """CTranslate2's model in float32 and with 8-bit weights, and the names of the tokens."""
    names = Names(count, special)
    if not importlib.util.find_spec("ctranslate2"):
        return {}, names.names
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        def load_tokenizer(self, *args: Any, **kwargs: Any) -> Names:
            return names

        def load_model(self, *args: Any, **kwargs: Any) -> Any:
            model = super().load_model(*args, **kwargs)
            model.config.normalize_before = False  # of BART, which the converter reads and transformers 5 has dropped
            return model

    engines = {}
    for engine, precision in (("CTranslate2", "float32"), ("CTranslate2 int8", "int8")):
        target = str(folder / precision)
        Converter(str(folder)).convert(target, quantization=precision)
        build = ctranslate2.models.Whisper if kind == "Whisper" else getattr(ctranslate2, kind)
        engines[engine] = build(target, device="cpu", compute_type=precision, intra_threads=threads, inter_threads=1)
    return engines, names.names


def models_that_generate(ours: Any, theirs: Any, given: argparse.Namespace) -> dict[str, Any]:
    models = {THEIRS: theirs, OURS: ours, OURS_INT8: quantized(ours)}
    if given.bfloat16:
        models[OURS_HALF] = copy.deepcopy(ours).to(torch.bfloat16)
    if given.compile:
        models[COMPILED] = copy.deepcopy(ours)
        models[COMPILED].forward = torch.compile(models[COMPILED].forward, dynamic=True)
    return models


def torch_generation(model: Any, tokens: int, **inputs: Any) -> Call:
    exact = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    return lambda: model.generate(**inputs, **exact)[:, -tokens:].tolist()


def halves(model: Any, output: Any, length: int, rows: int) -> tuple[list[Any], list[Any]]:
    """The weights of an encoder-decoder that are multiplied once, with `length` rows, and those of each step, with their rows."""
    decoder = model.decoder
    source = [
        w for layer in decoder.layers for w in (layer.encoder_attn.k_proj.weight, layer.encoder_attn.v_proj.weight)
    ]
    steps = [w for w in (*linears(decoder), output.weight) if not any(w is one for one in source)]
    return [(w, length) for w in (*linears(model.encoder), *source)], [(w, rows) for w in steps]


def token_numbers(names: list[str]) -> Callable[[list[list[str]]], list[list[int]]]:
    number = {name: token for token, name in enumerate(names)}
    return lambda rows: [[number[name] for name in row] for row in rows]


def decoders(given: argparse.Namespace) -> Iterator[Case]:
    few, many = 2, 2 + given.tokens
    config = transformers.GPT2Config(bos_token_id=END, eos_token_id=END, pad_token_id=END)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = both("GPT2LMHeadModel", config, folder)
        engines, names = converted("Generator", folder, given.threads, config.vocab_size, {})
        numbers, ids = token_numbers(names), torch.randint(5, 50000, (1, 32))
        prompt = [[names[token] for token in ids[0].tolist()]]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False}

        def engine_call(engine: Any, tokens: int) -> Call:
            settings = {"sampling_topk": 1, "include_prompt_in_result": False}
            return lambda: numbers(
                [
                    r.sequences[0]
                    for r in engine.generate_batch(prompt, max_length=tokens, min_length=tokens, **settings)
                ]
            )

        models = models_that_generate(ours, theirs, given)

        def calls(tokens: int) -> dict[str, Call]:
            mine = {engine: torch_generation(model, tokens, **inputs) for engine, model in models.items()}
            return mine | {engine: engine_call(model, tokens) for engine, model in engines.items()}

        weights = [(weight, 1) for weight in linears(theirs)]
        if given.compile:  # which compiles the prompt and a further token apart
            start = time.perf_counter()
            calls(few)[COMPILED]()
            print(f"torch.compile, first call: {time.perf_counter() - start:.1f} s", flush=True)
        yield Case(f"GPT-2 of 124 M, {given.tokens} further tokens", calls(many), weights, given.tokens, calls(few))


def summarizers(given: argparse.Namespace) -> Iterator[Case]:
    length, tokens, beams = 512, 60, 4
    config = transformers.BartConfig(
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=END,
        forced_eos_token_id=None,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = both("BartForConditionalGeneration", config, folder)
        engines, names = converted("Translator", folder, given.threads, config.vocab_size, {})
        numbers, ids = token_numbers(names), torch.randint(5, 50000, (1, length))
        source = [[names[token] for token in ids[0].tolist()]]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "num_beams": beams}
        models = models_that_generate(ours, theirs, given)
        calls: dict[str, Call] = {key: torch_generation(model, tokens, **inputs) for key, model in models.items()}
        settings = {"beam_size": beams, "max_decoding_length": tokens, "min_decoding_length": tokens}
        for key, engine in engines.items():
            calls[key] = lambda engine=engine: numbers(
                [r.hypotheses[0] for r in engine.translate_batch(source, **settings)]
            )
        once, steps = halves(theirs.model, theirs.lm_head, length, beams)
        what = f"BART-base size, {length} in, {tokens} out, {beams} beams"
        yield Case(what, calls, steps, passes=tokens, encoder=once)


def transcribers(given: argparse.Namespace) -> Iterator[Case]:
    for size, (width, layers, heads) in {"tiny": (384, 4, 6), "base": (512, 6, 8)}.items():
        yield from transcriber(given, size, width, layers, heads)


def transcriber(given: argparse.Namespace, size: str, width: int, layers: int, heads: int) -> Iterator[Case]:
    tokens, end = 120, 50257
    config = transformers.WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=end + 1,
    )
    special = {
        end: "<|endoftext|>",
        end + 1: "<|startoftranscript|>",
        50362: "<|nospeech|>",
        50363: "<|notimestamps|>",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = both("WhisperForConditionalGeneration", config, folder)
        for model in (ours, theirs):
            model.generation_config.no_timestamps_token_id = 50363
        engines, _ = converted("Whisper", folder, given.threads, config.vocab_size, special)
        features = torch.randn(2, 80, 3000)
        rules = {"suppress_tokens": [end], "begin_suppress_tokens": [220, end], "num_beams": 1}
        models = models_that_generate(ours, theirs, given)

        def transcribe(model: Any) -> Call:
            read = features.to(model.dtype)
            return lambda: model.generate(read, max_new_tokens=tokens, **rules)[:, -tokens:].tolist()

        calls = {key: transcribe(model) for key, model in models.items()}
        if engines:
            from ctranslate2 import StorageView

            view = StorageView.from_array(features.numpy())
            # CTranslate2 writes half of `max_length` tokens.
            settings = {"beam_size": 1, "max_length": 2 * tokens, "suppress_tokens": [end], "suppress_blank": False}
            prompts = [[end + 1, 50363]] * 2
            for key, engine in engines.items():
                calls[key] = lambda engine=engine: [
                    r.sequences_ids[0] for r in engine.generate(view, prompts, **settings)
                ]
        once, steps = halves(theirs.model, theirs.proj_out, 2 * 1500, 2)
        yield Case(f"Whisper-{size} size, 2 x 30 s, {tokens} tokens each", calls, steps, passes=tokens, encoder=once)


PARTS = {part.__name__: part for part in (texts, pictures, sounds, decoders, summarizers, transcribers)}


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"all by default: {', '.join(PARTS)}"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32, help="further tokens of GPT-2")
    parser.add_argument("--compile", action="store_true", help="ours by torch.compile too, with its first cost")
    parser.add_argument("--bfloat16", action="store_true", help="ours in bfloat16 too")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table to this file too")
    parser.add_argument("--cpu-seconds", action="store_true", help="for a machine that is busy, with one thread")
    given = parser.parse_args()
    with threads(given.threads):
        rows = []
        for part in given.parts or PARTS:
            for case in PARTS[part](given):
                rows.append(measured(case, given))
                print(" | ".join(rows[-1]), flush=True)  # kept if a later part fails
    clock = "CPU time" if given.cpu_seconds else "time on the clock"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    with ExitStack() as stack:
        for file in (None, *([stack.enter_context(given.output.open("w"))] if given.output else [])):
            table(["", THEIRS, *columns(given), "limit"], rows, given.rounds, file)
            print(f"{processor()}; {given.threads} thread(s), {clock}, {versions}.", file=file)


if __name__ == "__main__":
    main()

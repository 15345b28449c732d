"""What published notebooks and scripts fetch from the network, in small: checkpoints, datasets and metrics.

Checkpoints have the classes and files of the real ones, and random weights of a few thousand parameters. Their vocabularies are
learned from the text of the notebooks. Datasets have the columns and features of the real ones, and a few rows of invented
text. Metrics return the keys of the real ones.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

WORDS = [
    "the",
    "a",
    "little",
    "old",
    "man",
    "king",
    "house",
    "river",
    "small",
    "dog",
    "saw",
    "went",
    "to",
    "and",
    "in",
    "of",
    "on",
    "that",
    "she",
    "he",
    "was",
    "good",
    "bad",
    "film",
    "very",
]
CORPUS = [" ".join(WORDS), "Paris is the capital of France . How are you ? My name is Sarah and I live in London ."]

# ---------------------------------------------------------------------------------------------------------- checkpoints

# What a checkpoint's name contains -> its family; the first match counts.
FAMILIES = [
    (r"mpnet", "mpnet"),
    (r"opus-mt|marian", "marian"),
    (r"mt5", "mt5"),
    (r"mbart", "mbart"),
    (r"distilbart|bart", "bart"),
    (r"camembert", "camembert"),
    (r"distilroberta|roberta", "roberta"),
    (r"distilbert", "distilbert"),
    (r"albert", "albert"),
    (r"electra", "electra"),
    (r"xlnet", "xlnet"),
    (r"smollm|llama|zephyr|mistral|qwen", "llama"),
    (r"gpt2|codeparrot|code-search-net|dialogpt", "gpt2"),
    (r"t5", "t5"),
    (r"bert", "bert"),
]
# ... and the head that it has
HEADS = [
    (r"sst-?2|sentiment|mrpc|emotion", "SequenceClassification", ["NEGATIVE", "POSITIVE"]),
    (r"mnli", "SequenceClassification", ["contradiction", "neutral", "entailment"]),
    (r"conll|-ner\b", "TokenClassification", ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]),
    (r"squad", "QuestionAnswering", None),
]
SIZES: dict[str, dict[str, Any]] = {
    "encoder": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "bart": {
        **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
        "d_model": 32,
    },
}
ROLES = {
    "bert": {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"},
    "roberta": {
        "bos": "<s>",
        "eos": "</s>",
        "unk": "<unk>",
        "sep": "</s>",
        "pad": "<pad>",
        "cls": "<s>",
        "mask": "<mask>",
    },
    "gpt2": {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"},
    "t5": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
    "llama": {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
}


def family_of(name: str) -> str | None:
    """The family of a checkpoint by its name, or None for a name that is not one.

    >>> family_of("distilbert-base-uncased"), family_of("my text")
    ('distilbert', None)
    """
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        return None
    return next((family for pattern, family in FAMILIES if re.search(pattern, name.lower())), None)


def tokenizer_files(family: str, folder: Path, texts: list[str], cased: bool) -> int:
    """Write a tokenizer that is trained on texts; returns the size of its vocabulary."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if family == "marian":
        return _marian_files(folder, texts)
    kind = {
        "mpnet": "bert",
        "distilbert": "bert",
        "electra": "bert",
        "bart": "roberta",
        "mbart": "t5",
        "mt5": "t5",
    }.get(family, family)
    roles = ROLES.get({"camembert": "roberta", "albert": "bert", "xlnet": "roberta"}.get(kind, kind), ROLES["t5"])
    special = list(dict.fromkeys(roles.values()))
    if kind == "bert":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=600, special_tokens=special)
    elif kind in ("gpt2", "roberta", "llama"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = (
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        )
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=special, unk_token=roles["unk"])
    tokenizer.train_from_iterator(texts, trainer)
    if "cls" in roles:
        first, last = roles["cls"], roles["sep"]
        kinds = (0, 1) if kind in ("bert", "albert") else (0, 0)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} $B:{kinds[1]} {last}:{kinds[1]}",
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
        )
    elif kind not in ("gpt2", "llama"):
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
        )
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, **{f"{role}_token": token for role, token in roles.items()}
    )
    if kind == "llama":
        whole.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    whole.save_pretrained(folder)
    return len(tokenizer.get_vocab())


def _marian_files(folder: Path, texts: list[str]) -> int:
    import sentencepiece

    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(texts))
    for side in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(folder / side), vocab_size=300, minloglevel=2, hard_vocab_limit=False
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        (folder / f"{side}.vocab").unlink()
    corpus.unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    pieces = ["</s>", "<unk>", *(piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    settings = {"source_lang": "en", "target_lang": "fr", "model_max_length": 512, "tokenizer_class": "MarianTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(pieces)


def make_checkpoint(name: str, folder: Path, texts: list[str]) -> None:
    """Write a checkpoint with random weights for a name."""
    import torch
    import transformers

    family = str(family_of(name))
    size = tokenizer_files(family, folder, texts, cased="uncased" not in name)
    config_class = type(transformers.AutoConfig.for_model(family))
    sizes = SIZES.get({"marian": "bart", "mbart": "bart", "mt5": "t5"}.get(family, family), SIZES["encoder"])
    options: dict[str, Any] = {"vocab_size": size, "max_position_embeddings": 514, **sizes}
    if family in ("marian", "mbart", "bart"):
        options |= (
            {"pad_token_id": size - 1, "eos_token_id": 0, "decoder_start_token_id": size - 1}
            if family == "marian"
            else {}
        )
    if family in ("t5", "mt5"):
        options |= {"decoder_start_token_id": 0}
        options.pop("max_position_embeddings")
    if family == "gpt2":
        options = {"n_positions": 512, "n_ctx": 512, "bos_token_id": 0, "eos_token_id": 0, **options}
    if family == "albert":
        options["embedding_size"] = 16
    if family == "xlnet":
        options = {"vocab_size": size, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
    head, labels = next(
        ((head, labels) for pattern, head, labels in HEADS if re.search(pattern, name.lower())), (None, None)
    )
    if labels:
        options |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    config = config_class(**options)
    torch.manual_seed(0)
    autos = {
        "SequenceClassification": transformers.AutoModelForSequenceClassification,
        "TokenClassification": transformers.AutoModelForTokenClassification,
        "QuestionAnswering": transformers.AutoModelForQuestionAnswering,
        None: transformers.AutoModelForSeq2SeqLM
        if family in ("marian", "mbart", "bart", "t5", "mt5")
        else transformers.AutoModelForCausalLM
        if family in ("gpt2", "llama", "xlnet")
        else transformers.AutoModelForMaskedLM,
    }
    autos[head].from_config(config).save_pretrained(folder)


# ------------------------------------------------------------------------------------------------------------- datasets


def _text(i: int, words: int = 8) -> str:
    return " ".join(WORDS[(i * 7 + k * (i % 3 + 1)) % len(WORDS)] for k in range(words)).capitalize() + "."


def _classes(*names: str) -> Any:
    from datasets import ClassLabel

    return ClassLabel(names=list(names))


NER = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")


def _tags(names: Iterable[str]) -> Any:
    from datasets import Sequence

    return Sequence(_classes(*names))


def _squad(i: int) -> dict[str, Any]:
    context = " ".join(_text(i + k) for k in range(3))
    start = context.find(" ") + 1
    answer = context[start : start + 5]
    return {
        "id": str(i),
        "title": "A title",
        "context": context,
        "question": f"Who is number {i}?",
        "answers": {"text": [answer], "answer_start": [start]},
    }


def _words(i: int) -> dict[str, Any]:
    words = _text(i).split()
    tags = [k % len(NER) for k in range(len(words))]
    return {"id": str(i), "tokens": words, "pos_tags": tags, "chunk_tags": tags, "ner_tags": tags}


def _issue(i: int) -> dict[str, Any]:
    return {
        "html_url": f"https://example.com/issues/{i}",
        "number": i,
        "title": _text(i, 4),
        "body": _text(i, 30),
        "comments": [_text(i + k, 20) for k in range(2)],
        "is_pull_request": i % 3 == 0,
        "labels": [],
        "created_at": "2024-01-01",
        "pull_request": None,
    }


def _code(i: int) -> dict[str, Any]:
    imports = "import pandas as pd\nimport seaborn as sns\nimport matplotlib.pyplot as plt\n"
    code = f'{imports}def f{i}(a, b):\n    """{_text(i)}"""\n    return a + b\n'
    return {
        "repo_name": f"owner/repo{i}",
        "path": f"file{i}.py",
        "content": code * 4,
        "whole_func_string": code,
        "func_documentation_string": _text(i),
        "license": "mit",
        "size": "100",
        "copies": "1",
    }


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "glue/mrpc": lambda i: {"sentence1": _text(i), "sentence2": _text(i + 1), "label": i % 2, "idx": i},
    "glue/mnli": lambda i: {"premise": _text(i), "hypothesis": _text(i + 1), "label": i % 3, "idx": i},
    "glue/sst2": lambda i: {"sentence": _text(i), "label": i % 2, "idx": i},
    "glue/cola": lambda i: {"sentence": _text(i), "label": i % 2, "idx": i},
    "xnli": lambda i: {"premise": _text(i), "hypothesis": _text(i + 1), "label": i % 3},
    "imdb": lambda i: {"text": _text(i, 60), "label": i % 2},
    "yelp_review_full": lambda i: {"text": _text(i, 30), "label": i % 5},
    "emotion": lambda i: {"text": _text(i), "label": i % 6},
    "ag_news": lambda i: {"text": _text(i), "label": i % 4},
    "rotten_tomatoes": lambda i: {"text": _text(i), "label": i % 2},
    "squad": _squad,
    "squad_v2": _squad,
    "conll2003": _words,
    "wnut_17": _words,
    "swag": lambda i: {
        "sent1": _text(i),
        "sent2": _text(i, 2),
        "label": i % 4,
        **{f"ending{k}": _text(i + k, 4) for k in range(4)},
    },
    "kde4": lambda i: {"id": str(i), "translation": {"en": _text(i), "fr": _text(i + 1)}},
    "wmt16": lambda i: {"translation": {"en": _text(i), "ro": _text(i + 1)}},
    "opus_books": lambda i: {"id": str(i), "translation": {"en": _text(i), "fr": _text(i + 1)}},
    "xsum": lambda i: {"document": _text(i, 60), "summary": _text(i, 6), "id": str(i)},
    "cnn_dailymail": lambda i: {"article": _text(i, 60), "highlights": _text(i, 6), "id": str(i)},
    "billsum": lambda i: {"text": _text(i, 60), "summary": _text(i, 6), "title": _text(i, 3)},
    "wikitext": lambda i: {"text": "" if i % 4 == 3 else _text(i, 40)},
    "eli5_category": lambda i: {
        "q_id": str(i),
        "title": _text(i, 5),
        "answers": {"text": [_text(i, 30)], "score": [1]},
    },
    "amazon_reviews_multi": lambda i: {
        "review_id": str(i),
        "stars": i % 5 + 1,
        "review_body": _text(i, 40),
        "review_title": _text(i, 4),
        "language": "en",
        "product_category": "book" if i % 2 else "digital_ebook_purchase",
    },
    "github-issues": _issue,
    "code_search_net": _code,
    "codeparrot-ds-train": _code,
    "codeparrot-ds-valid": _code,
    "codeparrot-train": _code,
    "codeparrot-valid": _code,
}
LABELS: dict[str, dict[str, Callable[[], Any]]] = {
    "glue/mrpc": {"label": lambda: _classes("not_equivalent", "equivalent")},
    "glue/mnli": {"label": lambda: _classes("entailment", "neutral", "contradiction")},
    "xnli": {"label": lambda: _classes("entailment", "neutral", "contradiction")},
    "glue/sst2": {"label": lambda: _classes("negative", "positive")},
    "glue/cola": {"label": lambda: _classes("unacceptable", "acceptable")},
    "imdb": {"label": lambda: _classes("neg", "pos")},
    "rotten_tomatoes": {"label": lambda: _classes("neg", "pos")},
    "yelp_review_full": {"label": lambda: _classes(*(f"{k} star" for k in range(1, 6)))},
    "emotion": {"label": lambda: _classes("sadness", "joy", "love", "anger", "fear", "surprise")},
    "ag_news": {"label": lambda: _classes("World", "Sports", "Business", "Sci/Tech")},
    "conll2003": {name: lambda: _tags(NER) for name in ("pos_tags", "chunk_tags", "ner_tags")},
    "wnut_17": {"ner_tags": lambda: _tags(NER)},
}
SPLITS = {
    "glue/mnli": ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"),
    "imdb": ("train", "test", "unsupervised"),
    "yelp_review_full": ("train", "test"),
    "ag_news": ("train", "test"),
    "billsum": ("train", "test", "ca_test"),
    "kde4": ("train",),
    "opus_books": ("train",),
    "github-issues": ("train",),
    "squad": ("train", "validation"),
    "squad_v2": ("train", "validation"),
}


def load_dataset(real: Callable[..., Any], path: str, name: str | None = None, *args: Any, **options: Any) -> Any:
    """The stand-in for a dataset of the Hub; local files and unknown names go to the real function."""
    from datasets import Dataset, DatasetDict, IterableDatasetDict, concatenate_datasets

    short = path.rpartition("/")[2]
    key = f"{short}/{name}" if f"{short}/{name}" in ROWS else short
    if key not in ROWS:
        return real(path, name, *args, **options)
    splits, count = SPLITS.get(key, ("train", "validation", "test")), options.pop("_rows", 24)
    made = {}
    for number, split in enumerate(splits):
        rows = [ROWS[key](number * 1000 + i) for i in range(count)]
        if short == "code_search_net" or "codeparrot" in short:
            rows *= 2
        made[split] = Dataset.from_list(rows)
        for column, feature in LABELS.get(key, {}).items():
            made[split] = made[split].cast_column(column, feature())
    wanted = options.get("split")
    if options.get("streaming"):
        streams = {split: data.to_iterable_dataset() for split, data in made.items()}
        return IterableDatasetDict(streams) if wanted is None else streams.get(wanted, next(iter(streams.values())))
    if wanted is None:
        return DatasetDict(made)

    def part(text: str) -> Dataset:
        split, _, piece = text.partition("[")
        data = made.get(split) or next(iter(made.values()))
        if not piece:
            return data
        start, _, stop = piece.rstrip("]").partition(":")
        size = {
            edge: int(len(data) * float(edge[:-1]) / 100) if edge.endswith("%") else int(edge)
            for edge in (start, stop)
            if edge
        }
        return data.select(range(min(size.get(start, 0), len(data)), min(size.get(stop, len(data)), len(data))))

    if isinstance(wanted, list | tuple):
        return [part(str(text)) for text in wanted]
    return concatenate_datasets([part(text) for text in str(wanted).split("+")])


# -------------------------------------------------------------------------------------------------------------- metrics


class Metric:
    """A metric of `evaluate`: the keys of the real one, computed simply."""

    def __init__(self, name: str, config: str | None = None) -> None:
        self.name, self.config = name, config
        self.predictions: list[Any] = []
        self.references: list[Any] = []

    def add_batch(self, predictions: Any, references: Any) -> None:
        self.predictions += list(predictions)
        self.references += list(references)

    def add(self, prediction: Any, reference: Any) -> None:
        self.add_batch([prediction], [reference])

    def compute(self, predictions: Any = None, references: Any = None, **_: Any) -> dict[str, Any]:
        predictions = self.predictions if predictions is None else predictions
        references = self.references if references is None else references
        if len(predictions) != len(references):
            raise ValueError("predictions and references differ in length")
        share = sum(str(a) == str(b) for a, b in zip(predictions, references, strict=True)) / max(1, len(predictions))
        self.predictions, self.references = [], []
        keys = {
            "rouge": ("rouge1", "rouge2", "rougeL", "rougeLsum"),
            "sacrebleu": ("score",),
            "bleu": ("bleu",),
            "squad": ("exact_match", "f1"),
            "squad_v2": ("exact", "f1"),
            "seqeval": ("overall_precision", "overall_recall", "overall_f1", "overall_accuracy"),
            "f1": ("f1",),
            "mse": ("mse",),
            "glue": ("accuracy", "f1") if self.config == "mrpc" else ("accuracy",),
        }.get(self.name, ("accuracy",))
        values: dict[str, Any] = dict.fromkeys(keys, share)
        return values | (
            {"PER": {"f1": share, "precision": share, "recall": share, "number": 1}} if self.name == "seqeval" else {}
        )


def install(offline: bool = True) -> None:
    """Put the stand-ins in the place of `datasets.load_dataset`, `evaluate`, and what talks to a person or uploads."""
    import datasets
    import huggingface_hub

    real = datasets.load_dataset
    datasets.load_dataset = lambda path, name=None, *args, **options: load_dataset(real, path, name, *args, **options)
    metrics = types.ModuleType("evaluate")
    metrics.load = lambda name, config_name=None, *_, **__: Metric(name, config_name)  # type: ignore[attr-defined]
    sys.modules["evaluate"] = metrics
    sentences = types.ModuleType("nltk.tokenize")
    sentences.sent_tokenize = lambda text: [part.strip() for part in re.split(r"(?<=[.!?])\s", text) if part.strip()]  # type: ignore[attr-defined]
    nltk = types.ModuleType("nltk")
    nltk.download, nltk.tokenize, nltk.sent_tokenize = lambda *_, **__: True, sentences, sentences.sent_tokenize  # type: ignore[attr-defined]
    nltk.data = types.SimpleNamespace(find=lambda name: name)  # type: ignore[attr-defined]
    sys.modules |= {"nltk": nltk, "nltk.tokenize": sentences}
    huggingface_hub.notebook_login = lambda *_, **__: None

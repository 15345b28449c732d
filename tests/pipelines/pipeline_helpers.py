"""Tiny random checkpoints with a real tokenizer, and a comparison of answers."""

from __future__ import annotations

import torch

TEXTS = [
    "We are very happy to show you the library.",
    "The film is dull, empty and far too long.",
    "Wolfgang Schmidt lives in Berlin and works for Siemens.",
    "Angela went to Paris with Maria Lopez in the unbelievable summer of 1999, and stayed.",
    "Good.",
    "An unforgettable, heartwarming performance by everyone who had a part in this picture, from the first shot to the last.",
    "I have a problem with my phone that needs to be resolved soon!!",
    "",
    "Je m'appelle Élodie, 東京 and emoji 🤗 😀.",
    "The quick brown fox jumps over the lazy dog. " * 3,
]

CONTEXT = (
    "My name is Wolfgang and I live in Berlin. The city lies on the river Spree, has four million people, and its "
    "zoo keeps more kinds of animals than any other in the world. In summer Maria Lopez moved there from Madrid, "
    "where she had worked for nine years as a teacher of mathematics."
)

NER_LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]


WHOLE = """
the is and to in of for film dull happy very good city summer paris berlin live name my long had from show you library
works with problem phone every one more any other an example this entail heart fox dog
"""
PIECES = "##ing ##ed ##er ##able ##gang ##warm ##get ##ela ##ia ##ens"


def words() -> list[str]:
    """A vocabulary with pieces of words, so that many words are split."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'")
    return specials + letters + WHOLE.split() + ["##" + letter for letter in letters[:36]] + PIECES.split()


def make_tokenizer(folder: str, **settings):
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast

    vocabulary = {word: i for i, word in enumerate(words())}
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = BertTokenizerFast(
        tokenizer_object=backend, model_max_length=settings.pop("model_max_length", 128), **settings
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_checkpoint(folder: str, head: str, **settings) -> str:
    """A random BERT, with weights large enough for its answers to differ clearly."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=len(words()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=settings.pop("max_position_embeddings", 128),
        initializer_range=0.4,
        **settings,
    )
    torch.manual_seed(7)
    model = getattr(transformers, "Bert" + head)(config).eval()
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return str(folder)


def word_level(words: list[str], *, template: bool = True, **settings):
    """A tokenizer of ours with whole words, separated at spaces and punctuation, and BERT's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from notebook_kit import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "PAD", "CLS", "SEP", "MASK")}
    if template:
        ends = [(name, words.index(name)) for name in ("[CLS]", "[SEP]")]
        backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special, **settings)


def ours(task, folder, **options):
    """Our pipeline over a checkpoint, on the CPU."""
    from notebook_kit.pipelines import pipeline

    return pipeline(task, model=folder, device="cpu", **options)


def assert_same(ours, theirs, within: float = 1e-5) -> None:
    """Equal in structure and in all but the last digits of numbers."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), (set(ours), set(theirs))
        for key in theirs:
            assert_same(ours[key], theirs[key], within)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), (ours, theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, within)
    elif isinstance(theirs, torch.Tensor):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=0, atol=within)
    elif hasattr(theirs, "__float__") and not isinstance(theirs, str | bool):
        assert abs(float(ours) - float(theirs)) <= within, (ours, theirs)
    else:
        assert ours == theirs, (ours, theirs)

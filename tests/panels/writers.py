"""Small models that write, with tokenizers trained here."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from notebook_kit import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

CORPUS = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog went on a walk", "తెలుగు 🦖 naïve"] * 9
HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>")


def byte_tokenizer(size: int = 340, extra: tuple[str, ...] = (), bos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE with an end token, and `extra` entries that no merge would make."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|end|>", *(["<s>"] if bos else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens(list(extra))
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", **({"bos_token": "<s>"} if bos else {})
    )


def telling(model, seed: int):
    """An output layer of its own, as fresh weights that are tied repeat what was read, all with one probability."""
    with torch.no_grad():
        model.lm_head.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(seed))
    return model.eval()


def gpt2(tokenizer, layers: int = 3, seed: int = 0, **settings) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=32,
        n_layer=layers,
        n_head=4,
        vocab_size=len(tokenizer),
        n_positions=128,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
        tie_word_embeddings=False,
        **settings,
    )
    return telling(GPT2LMHeadModel(config), seed)


def spaced_tokenizer() -> PreTrainedTokenizerFast:
    """A Unigram tokenizer as T5 has one."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=70, unk_token="<unk>", special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False
    )
    backend.train_from_iterator(CORPUS[:3] * 9, trainer)
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def t5(tokenizer, seed: int = 0) -> T5ForConditionalGeneration:
    torch.manual_seed(seed)
    config = T5Config(
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
    )
    return telling(T5ForConditionalGeneration(config), seed)


def bart(tokenizer, seed: int = 7) -> BartForConditionalGeneration:
    torch.manual_seed(seed)
    config = BartConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=1,
        decoder_start_token_id=0,
        forced_eos_token_id=1,
        init_std=0.2,
        tie_word_embeddings=False,
    )
    return telling(BartForConditionalGeneration(config), seed)

"""Record what transformers 4 answers, since transformers 5 no longer has all of its tasks.

Run it with a Python that has transformers 4.57: `python tests/pipelines/record_v4.py`. It makes the tiny checkpoints
`data/tiny-*` that there are not yet, and writes `data/question_answering_v4.json` and `data/generation_v4.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from pipeline_helpers import CONTEXT, TEXTS, make_checkpoint

DATA = Path(__file__).parent / "data"
CHECKPOINT = DATA / "tiny-question-answering"

QUESTIONS = ["Where do I live?", "Who moved in summer?", "How many people?", "What is it that the zoo has more of?"]
# One window, and no words twice: transformers 4 adds up the scores of windows, and of equal words at different places.
PLACE = "My name is Wolfgang and I live in Berlin, a city with four million people."

CASES = (
    [{"question": question, "context": PLACE} for question in QUESTIONS]
    + [
        {"question": QUESTIONS[0], "context": PLACE, **options}
        for options in (
            {"top_k": 5},
            {"top_k": 5, "align_to_words": False},
            {"top_k": 30},
            {"handle_impossible_answer": True},
            {"handle_impossible_answer": True, "top_k": 4},
            {"max_answer_len": 1},
            {"max_answer_len": 40, "top_k": 3},
            {"padding": "max_length", "max_seq_len": 120},
        )
    ]
    + [
        {"question": QUESTIONS, "context": PLACE},
        {"question": QUESTIONS[:2], "context": [PLACE, "The dog had a very good summer."], "top_k": 2},
        {"question": QUESTIONS[:1], "context": [PLACE]},
        {"question": "Why?", "context": "Élodie 🤗 lives in 東京."},
        {"question": "Why?", "context": "x"},
    ]
)

LONG_TEXT = " ".join([CONTEXT] * 2)
WRITTEN = [text for text in TEXTS if text]
SHORT = {"max_new_tokens": 12}
TEXT2TEXT = [
    *({"inputs": text, **SHORT} for text in WRITTEN),
    *(
        {"inputs": WRITTEN[1], **options}
        for options in (
            {},
            {**SHORT, "min_length": 10, "stop_sequence": " the"},
            {**SHORT, "num_beams": 1},
            {**SHORT, "num_return_sequences": 3},
            {**SHORT, "num_beams": 6, "num_return_sequences": 2, "length_penalty": 2.0},
            {**SHORT, "return_tensors": True},
            {**SHORT, "clean_up_tokenization_spaces": True},
            {**SHORT, "stop_sequence": " the"},
            {**SHORT, "stop_sequence": " li"},
            {**SHORT, "no_repeat_ngram_size": 1, "repetition_penalty": 1.5},
            {**SHORT, "early_stopping": True},
        )
    ),
    {"inputs": LONG_TEXT, **SHORT, "truncation": True},
    {"inputs": WRITTEN, **SHORT},
    {"inputs": WRITTEN, **SHORT, "batch_size": 3},
    {"inputs": WRITTEN[:2], **SHORT, "num_return_sequences": 2},
    {"inputs": WRITTEN[:2], **SHORT, "return_tensors": True},
    {"inputs": WRITTEN[:1], **SHORT},
]
LANGUAGES = [
    {"inputs": inputs, "src_lang": source, "tgt_lang": target, **SHORT, **more}
    for source, target in (("en_XX", "fr_XX"), ("de_DE", "en_XX"))
    for inputs, more in ((WRITTEN[0], {}), (WRITTEN[:4], {}), (WRITTEN[2], {"num_return_sequences": 2}))
]
GREEDY = {"do_sample": False, **SHORT}
CONTINUED = [
    *({"text_inputs": text, **GREEDY} for text in WRITTEN),
    *(
        {"text_inputs": WRITTEN[1], **GREEDY, **options}
        for options in (
            {"return_full_text": False},
            {"return_tensors": True},
            {"num_beams": 3, "num_return_sequences": 3},
            {"prefix": "Once. "},
            {"repetition_penalty": 1.5},
            {"skip_special_tokens": False},
        )
    ),
    {"text_inputs": WRITTEN, **GREEDY},
    {"text_inputs": [[{"role": "user", "content": text}] for text in WRITTEN[:2]], **GREEDY},
    {"text_inputs": [{"role": "user", "content": WRITTEN[0]}, {"role": "assistant", "content": "Oh"}], **GREEDY},
]
# Task, checkpoint, and the calls.
GENERATION = [
    ("text2text-generation", "bart", TEXT2TEXT),
    ("text2text-generation", "t5", TEXT2TEXT),
    ("summarization", "bart", TEXT2TEXT),
    ("summarization", "t5", TEXT2TEXT),
    ("translation_en_to_fr", "t5", TEXT2TEXT),
    ("translation_en_to_de", "t5", TEXT2TEXT[:3]),
    ("translation", "mbart", LANGUAGES),
    ("text-generation", "gpt2", CONTINUED),
]


def make_byte_level(**special: str):
    """A byte-level tokenizer that has learnt a few words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE(unk_token=special.get("unk_token")))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokens = list(dict.fromkeys(special.values()))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, special_tokens=tokens, show_progress=False)
    backend.train_from_iterator([*TEXTS, CONTEXT], trainer)
    if "eos_token" in special and "bos_token" not in special:
        end = special["eos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, backend.token_to_id(end))]
        )
    elif "unk_token" in special:
        ends = [(special[role], backend.token_to_id(special[role])) for role in ("eos_token", "bos_token")]
        backend.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    return backend


def make_writer(name: str) -> None:
    """A tiny checkpoint of random weights that generates, with a tokenizer."""
    folder = DATA / f"tiny-{name}"
    if folder.exists():
        return
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    size = {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    size |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 264}
    torch.manual_seed(5)
    if name == "gpt2":
        end = "<|endoftext|>"
        backend = make_byte_level(eos_token=end, bos_token=end)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend, eos_token=end, bos_token=end, model_max_length=96
        )
        tokenizer.chat_template = (
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}"
        )
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = transformers.GPT2Config(
            n_embd=24, n_layer=2, n_head=4, n_positions=96, vocab_size=len(tokenizer), initializer_range=0.4, **ids
        )
        model = transformers.GPT2LMHeadModel(config)
    elif name == "t5":
        special.pop("bos_token")
        backend = make_byte_level(**special)
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=80, **special)
        tasks = {
            "summarization": {"prefix": "summarize: ", "num_beams": 3, "no_repeat_ngram_size": 2},
            "translation_en_to_fr": {"prefix": "translate English to French: ", "length_penalty": 3.0},
        }
        config = transformers.T5Config(
            vocab_size=len(tokenizer),
            d_model=24,
            d_kv=6,
            d_ff=32,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=tokenizer.pad_token_id,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            initializer_factor=3.0,
            tie_word_embeddings=False,
            task_specific_params=tasks,
        )
        model = transformers.T5ForConditionalGeneration(config)
    else:
        backend = make_byte_level(**special)
        if name == "mbart":
            tokenizer = transformers.MBartTokenizerFast(tokenizer_object=backend, model_max_length=96, **special)
        else:
            tokenizer = transformers.BartTokenizerFast(tokenizer_object=backend, model_max_length=96, **special)
        ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
        kind = "MBart" if name == "mbart" else "Bart"
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=len(tokenizer), decoder_start_token_id=ids["eos_token_id"], init_std=0.3, **ids, **size
        )
        model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def plain(answer):
    """Tensors as lists."""
    if isinstance(answer, list):
        return [plain(one) for one in answer]
    if isinstance(answer, dict):
        return {name: plain(value) for name, value in answer.items()}
    return answer.tolist() if isinstance(answer, torch.Tensor) else answer


def record(name: str, answers: list) -> None:
    text = json.dumps(answers, ensure_ascii=False, indent=1)
    (DATA / name).write_text(text + "\n", encoding="utf-8")


def first_answers(found, top_k: int):
    """The first `top_k` of the answers to each question.

    transformers 4 adds up more of the spans that become the same words, the larger `top_k` is; it adds up all if `top_k` is
    large.
    """
    if isinstance(found, dict):
        return found
    if not isinstance(found[0], dict):
        return [first_answers(answers, top_k) for answers in found]
    return found[0] if top_k == 1 else found[:top_k]


if __name__ == "__main__":
    if not transformers.__version__.startswith("4."):
        raise SystemExit("This needs transformers 4; transformers 5 lacks some of the pipelines.")
    if not CHECKPOINT.exists():
        make_checkpoint(str(CHECKPOINT), "ForQuestionAnswering")
    pipe = transformers.pipeline("question-answering", model=str(CHECKPOINT), device="cpu")
    found = [first_answers(pipe(**case | {"top_k": 1000}), case.get("top_k", 1)) for case in CASES]
    record("question_answering_v4.json", [{"call": c, "answer": a} for c, a in zip(CASES, found, strict=True)])

    answers = []
    for task, name, cases in GENERATION:
        make_writer(name)
        pipe = transformers.pipeline(task, model=str(DATA / f"tiny-{name}"), device="cpu")
        for case in cases:
            given = dict(case)
            inputs = given.pop("text_inputs" if task == "text-generation" else "inputs")
            options = {key: value for key, value in given.items() if value is not None}
            answers.append({"task": task, "checkpoint": name, "inputs": inputs, "options": options})
            answers[-1]["answer"] = plain(pipe(inputs, **options))
    record("generation_v4.json", answers)

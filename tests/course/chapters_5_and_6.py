"""Datasets through a tokenizer, semantic search by hand, and tokenizers of one's own."""

# %%
from datasets import load_dataset
from transformers import AutoModel, AutoTokenizer

data = load_dataset("rotten_tomatoes", split="train").train_test_split(test_size=0.25, seed=0)
tokenizer = AutoTokenizer.from_pretrained("bert-base-cased")


def split(rows):
    parts = tokenizer(rows["text"], truncation=True, max_length=6, return_overflowing_tokens=True)
    sources = parts.pop("overflow_to_sample_mapping")
    for name, values in rows.items():
        parts[name] = [values[i] for i in sources]
    return parts


len(data.map(split, batched=True)["train"])

# %%
search_name = "sentence-transformers/multi-qa-mpnet-base-dot-v1"
search_tokenizer, encoder = AutoTokenizer.from_pretrained(search_name), AutoModel.from_pretrained(search_name)
encoded = search_tokenizer(data["test"]["text"][:4], padding=True, truncation=True, return_tensors="pt")
encoder(**encoded).last_hidden_state[:, 0].detach().numpy().shape

# %%
old = AutoTokenizer.from_pretrained("gpt2")
new = old.train_new_from_iterator((data["train"][i : i + 8]["text"] for i in range(0, 16, 8)), 300)
new.tokenize("the old king"), new.save_pretrained("new_tokenizer")

# %%
encoding = tokenizer("My name is Sarah and I live in London.")
encoding.is_fast, encoding.tokens(), encoding.word_ids(), encoding.word_to_chars(3)
pair = tokenizer("My name is Sarah.", "I live in London.", return_offsets_mapping=True)
pair.sequence_ids(), pair["offset_mapping"]

# %%
import torch
from transformers import AutoModelForTokenClassification

name = "dbmdz/bert-large-cased-finetuned-conll03-english"
tagger_tokenizer, tagger = AutoTokenizer.from_pretrained(name), AutoModelForTokenClassification.from_pretrained(name)
logits = tagger(**tagger_tokenizer("Sarah went to Paris.", return_tensors="pt")).logits
[tagger.config.id2label[i] for i in torch.nn.functional.softmax(logits, dim=-1)[0].argmax(dim=-1).tolist()]

# %%
backend = tokenizer.backend_tokenizer
backend.normalizer.normalize_str("Héllò") if backend.normalizer else None
backend.pre_tokenizer.pre_tokenize_str("Hello, how are you?")

# %%
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, GPT2TokenizerFast, PreTrainedTokenizerFast

pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
pieces.normalizer, pieces.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
pieces.train_from_iterator(data["train"]["text"], trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
ids = [(token, pieces.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
pieces.post_processor = processors.TemplateProcessing(
    single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ids
)
pieces.decoder = decoders.WordPiece(prefix="##")
PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]")("the king")
BertTokenizerFast(tokenizer_object=pieces)("the king", "a dog")

# %%
by_bytes = Tokenizer(models.BPE())
by_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
by_bytes.train_from_iterator(
    data["train"]["text"], trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"])
)
GPT2TokenizerFast(tokenizer_object=by_bytes)("the king")

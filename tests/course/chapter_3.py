"""Fine-tuning on pairs of sentences, with the Trainer and with a loop of one's own."""

# %%
from datasets import load_dataset
from transformers import AutoTokenizer, DataCollatorWithPadding

raw = load_dataset("glue", "mrpc")
tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")
tokenized = raw.map(lambda rows: tokenizer(rows["sentence1"], rows["sentence2"], truncation=True), batched=True)
tokenized["train"].features

# %%
collator = DataCollatorWithPadding(tokenizer=tokenizer)
samples = tokenized["train"][:8]
samples = {name: values for name, values in samples.items() if name not in ("idx", "sentence1", "sentence2")}
{name: values.shape for name, values in collator(samples).items()}

# %%
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased", num_labels=2)
args = TrainingArguments("run", eval_strategy="epoch", num_train_epochs=1, report_to="none")
Trainer(
    model,
    args,
    train_dataset=tokenized["train"],
    eval_dataset=tokenized["validation"],
    data_collator=collator,
    processing_class=tokenizer,
).train()

# %%
import evaluate
import numpy as np


def compute_metrics(predictions):
    logits, labels = predictions
    return evaluate.load("glue", "mrpc").compute(predictions=np.argmax(logits, axis=-1), references=labels)


trainer = Trainer(
    model,
    args,
    train_dataset=tokenized["train"],
    eval_dataset=tokenized["validation"],
    data_collator=collator,
    processing_class=tokenizer,
    compute_metrics=compute_metrics,
)
trainer.train()
trainer.predict(tokenized["validation"]).predictions.shape

# %%
from torch.utils.data import DataLoader

columns = tokenized.remove_columns(["sentence1", "sentence2", "idx"]).rename_column("label", "labels")
columns.set_format("torch")
train_loader = DataLoader(columns["train"], shuffle=True, batch_size=8, collate_fn=collator)
{name: values.shape for name, values in next(iter(train_loader)).items()}

# %%
import torch
from accelerate import Accelerator
from transformers import get_scheduler

optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
scheduler = get_scheduler("linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=len(train_loader))
accelerator = Accelerator()
model, optimizer, train_loader = accelerator.prepare(model, optimizer, train_loader)
model.train()
for batch in train_loader:
    accelerator.backward(model(**batch).loss)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()

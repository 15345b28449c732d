"""Finding a fault in training, step by step."""

# %%
import torch
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

raw = load_dataset("glue", "mnli")
tokenizer = AutoTokenizer.from_pretrained("distilbert-base-uncased")
data = raw.map(lambda rows: tokenizer(rows["premise"], rows["hypothesis"], truncation=True), batched=True)
model = AutoModelForSequenceClassification.from_pretrained("distilbert-base-uncased", num_labels=3)
args = TrainingArguments("run", eval_strategy="epoch", save_strategy="epoch", num_train_epochs=1, report_to="none")
trainer = Trainer(
    model,
    args,
    train_dataset=data["train"],
    eval_dataset=data["validation_matched"],
    data_collator=DataCollatorWithPadding(tokenizer),
    processing_class=tokenizer,
)

# %%
tokenizer.decode(trainer.train_dataset[0]["input_ids"]), trainer.train_dataset[0].keys()
trainer.train_dataset.features["label"].names

# %%
trainer.data_collator
batch = next(iter(trainer.get_train_dataloader()))
outputs = trainer.model(**{name: values.to(model.device) for name, values in batch.items()})
outputs.loss.backward()

# %%
trainer.create_optimizer()
trainer.optimizer.step()
trainer.model.num_labels

# %%
trainer.evaluate()
for batch in trainer.get_eval_dataloader():
    break
with torch.no_grad():
    trainer.compute_loss(model, batch, return_outputs=True)[1].logits.argmax(dim=-1)

# %%
for _ in range(3):
    outputs = trainer.model(**batch)
    outputs.loss.backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()

# The public names, for editors, type checkers and `notebook_kit.lazy`, which imports them on first use.

from ..training import DataCollatorForLanguageModeling as DataCollatorForLanguageModeling
from ..training import DataCollatorForMultipleChoice as DataCollatorForMultipleChoice
from ..training import DataCollatorForSeq2Seq as DataCollatorForSeq2Seq
from ..training import DataCollatorForTokenClassification as DataCollatorForTokenClassification
from ..training import DataCollatorForWholeWordMask as DataCollatorForWholeWordMask
from ..training import DataCollatorWithPadding as DataCollatorWithPadding
from ..training import DefaultDataCollator as DefaultDataCollator
from ..training import default_data_collator as default_data_collator
from .digits import load_digits as load_digits
from .packing import DataCollatorWithFlattening as DataCollatorWithFlattening
from .packing import pack_blocks as pack_blocks
from .permutation import DataCollatorForPermutationLanguageModeling as DataCollatorForPermutationLanguageModeling
from .text_datasets import LineByLineTextDataset as LineByLineTextDataset
from .text_datasets import TextDataset as TextDataset

__all__: list[str]

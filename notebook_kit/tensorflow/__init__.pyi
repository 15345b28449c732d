# The public names, for editors, type checkers and `notebook_kit.lazy`, which imports them on first use.

from .auto import TFAutoModel as TFAutoModel
from .auto import TFAutoModelForAudioClassification as TFAutoModelForAudioClassification
from .auto import TFAutoModelForCausalLM as TFAutoModelForCausalLM
from .auto import TFAutoModelForImageClassification as TFAutoModelForImageClassification
from .auto import TFAutoModelForMaskedImageModeling as TFAutoModelForMaskedImageModeling
from .auto import TFAutoModelForMaskedLM as TFAutoModelForMaskedLM
from .auto import TFAutoModelForMultipleChoice as TFAutoModelForMultipleChoice
from .auto import TFAutoModelForNextSentencePrediction as TFAutoModelForNextSentencePrediction
from .auto import TFAutoModelForPreTraining as TFAutoModelForPreTraining
from .auto import TFAutoModelForQuestionAnswering as TFAutoModelForQuestionAnswering
from .auto import TFAutoModelForSemanticSegmentation as TFAutoModelForSemanticSegmentation
from .auto import TFAutoModelForSeq2SeqLM as TFAutoModelForSeq2SeqLM
from .auto import TFAutoModelForSequenceClassification as TFAutoModelForSequenceClassification
from .auto import TFAutoModelForSpeechSeq2Seq as TFAutoModelForSpeechSeq2Seq
from .auto import TFAutoModelForTokenClassification as TFAutoModelForTokenClassification
from .callbacks import KerasMetricCallback as KerasMetricCallback
from .callbacks import PushToHubCallback as PushToHubCallback
from .classes import tf_class as tf_class
from .modeling import TFPreTrainedModel as TFPreTrainedModel
from .monitoring import KerasMonitorCallback as KerasMonitorCallback
from .optimization import AdamWeightDecay as AdamWeightDecay
from .optimization import WarmUp as WarmUp
from .optimization import create_optimizer as create_optimizer

# The public names, for editors, type checkers and `notebook_kit.lazy`, which imports them on first use.

from ..nn.cache import DynamicCache as DynamicCache
from ..nn.cache import KVCache as KVCache
from ..nn.cache import StaticCache as StaticCache
from .configuration import GenerationConfig as GenerationConfig
from .configuration import GenerationMode as GenerationMode
from .filters import EpsilonLogitsWarper as EpsilonLogitsWarper
from .filters import EtaLogitsWarper as EtaLogitsWarper
from .filters import MinPLogitsWarper as MinPLogitsWarper
from .filters import TemperatureLogitsWarper as TemperatureLogitsWarper
from .filters import TopKLogitsWarper as TopKLogitsWarper
from .filters import TopPLogitsWarper as TopPLogitsWarper
from .filters import TypicalLogitsWarper as TypicalLogitsWarper
from .mixin import GenerationMixin as GenerationMixin
from .outputs import GenerateBeamDecoderOnlyOutput as GenerateBeamDecoderOnlyOutput
from .outputs import GenerateBeamEncoderDecoderOutput as GenerateBeamEncoderDecoderOutput
from .outputs import GenerateDecoderOnlyOutput as GenerateDecoderOnlyOutput
from .outputs import GenerateEncoderDecoderOutput as GenerateEncoderDecoderOutput
from .processors import EncoderNoRepeatNGramLogitsProcessor as EncoderNoRepeatNGramLogitsProcessor
from .processors import EncoderRepetitionPenaltyLogitsProcessor as EncoderRepetitionPenaltyLogitsProcessor
from .processors import ExponentialDecayLengthPenalty as ExponentialDecayLengthPenalty
from .processors import ForcedBOSTokenLogitsProcessor as ForcedBOSTokenLogitsProcessor
from .processors import ForcedEOSTokenLogitsProcessor as ForcedEOSTokenLogitsProcessor
from .processors import InfNanRemoveLogitsProcessor as InfNanRemoveLogitsProcessor
from .processors import LogitNormalization as LogitNormalization
from .processors import LogitsProcessor as LogitsProcessor
from .processors import LogitsProcessorList as LogitsProcessorList
from .processors import MinLengthLogitsProcessor as MinLengthLogitsProcessor
from .processors import MinNewTokensLengthLogitsProcessor as MinNewTokensLengthLogitsProcessor
from .processors import NoBadWordsLogitsProcessor as NoBadWordsLogitsProcessor
from .processors import NoRepeatNGramLogitsProcessor as NoRepeatNGramLogitsProcessor
from .processors import PrefixConstrainedLogitsProcessor as PrefixConstrainedLogitsProcessor
from .processors import RepetitionPenaltyLogitsProcessor as RepetitionPenaltyLogitsProcessor
from .processors import SequenceBiasLogitsProcessor as SequenceBiasLogitsProcessor
from .processors import SuppressTokensAtBeginLogitsProcessor as SuppressTokensAtBeginLogitsProcessor
from .processors import SuppressTokensLogitsProcessor as SuppressTokensLogitsProcessor
from .processors import (
    UnbatchedClassifierFreeGuidanceLogitsProcessor as UnbatchedClassifierFreeGuidanceLogitsProcessor,
)
from .speech_rules import WhisperTimeStampLogitsProcessor as WhisperTimeStampLogitsProcessor
from .stopping import EosTokenCriteria as EosTokenCriteria
from .stopping import MaxLengthCriteria as MaxLengthCriteria
from .stopping import MaxTimeCriteria as MaxTimeCriteria
from .stopping import StoppingCriteria as StoppingCriteria
from .stopping import StoppingCriteriaList as StoppingCriteriaList
from .stopping import StopStringCriteria as StopStringCriteria
from .streamers import AsyncTextIteratorStreamer as AsyncTextIteratorStreamer
from .streamers import BaseStreamer as BaseStreamer
from .streamers import TextIteratorStreamer as TextIteratorStreamer
from .streamers import TextStreamer as TextStreamer
from .streamers import TokenIteratorStreamer as TokenIteratorStreamer

__all__: list[str]

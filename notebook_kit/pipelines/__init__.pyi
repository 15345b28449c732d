# The public names, for editors, type checkers and `notebook_kit.lazy`, which imports them on first use.

from ..registry.tasks import get_supported_tasks as get_supported_tasks
from .audio import AudioPipeline as AudioPipeline
from .audio_classification import AudioClassificationPipeline as AudioClassificationPipeline
from .automatic_speech_recognition import AutomaticSpeechRecognitionPipeline as AutomaticSpeechRecognitionPipeline
from .base import Pipeline as Pipeline
from .document_question_answering import DocumentQuestionAnsweringPipeline as DocumentQuestionAnsweringPipeline
from .document_question_answering import DonutQuestionAnsweringPipeline as DonutQuestionAnsweringPipeline
from .factory import get_task as get_task
from .factory import pipeline as pipeline
from .feature_extraction import FeatureExtractionPipeline as FeatureExtractionPipeline
from .fill_mask import FillMaskPipeline as FillMaskPipeline
from .image import ImagePipeline as ImagePipeline
from .image_classification import ImageClassificationPipeline as ImageClassificationPipeline
from .image_feature_extraction import ImageFeatureExtractionPipeline as ImageFeatureExtractionPipeline
from .image_segmentation import ImageSegmentationPipeline as ImageSegmentationPipeline
from .image_to_text import ImageToTextPipeline as ImageToTextPipeline
from .inputs import KeyDataset as KeyDataset
from .inputs import KeyPairDataset as KeyPairDataset
from .object_detection import ObjectDetectionPipeline as ObjectDetectionPipeline
from .quantization import dequantized as dequantized
from .question_answering import QuestionAnsweringPipeline as QuestionAnsweringPipeline
from .registry import PIPELINE_REGISTRY as PIPELINE_REGISTRY
from .running import ResultStream as ResultStream
from .text import TextPipeline as TextPipeline
from .text2text import SummarizationPipeline as SummarizationPipeline
from .text2text import Text2TextGenerationPipeline as Text2TextGenerationPipeline
from .text2text import TranslationPipeline as TranslationPipeline
from .text_classification import TextClassificationPipeline as TextClassificationPipeline
from .text_generation import TextGenerationPipeline as TextGenerationPipeline
from .token_classification import AggregationStrategy as AggregationStrategy
from .token_classification import NerPipeline as NerPipeline
from .token_classification import TokenClassificationPipeline as TokenClassificationPipeline
from .visual_question_answering import VisualQuestionAnsweringPipeline as VisualQuestionAnsweringPipeline
from .zero_shot_classification import ZeroShotClassificationPipeline as ZeroShotClassificationPipeline
from .zero_shot_image_classification import ZeroShotImageClassificationPipeline as ZeroShotImageClassificationPipeline

__all__: list[str]

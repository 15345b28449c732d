# The public names, for editors, type checkers and `notebook_kit.lazy`, which imports them on first use.

from ..language import set_language as set_language
from .attention_view.attention_view import AttentionView as AttentionView
from .generation_view.generation_view import GenerationView as GenerationView
from .model_picker.model_picker import ModelPicker as ModelPicker
from .panel import Panel as Panel
from .result_view.result_view import ResultView as ResultView
from .result_view.result_view import show as show
from .token_inspector.token_inspector import TokenInspector as TokenInspector
from .training_dashboard.training_dashboard import TrainingDashboard as TrainingDashboard

__all__: list[str]

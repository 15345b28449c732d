"""TrainingDashboard: the panel, its page and its static face."""

from notebook_kit.panels.training_dashboard.training_dashboard import TrainingDashboard, display_for

__all__ = ["TrainingDashboard", "display_for"]

"""What is remembered of a request."""

from .feedback import FeedbackRequest, FeedbackStage
from .meter import Record

__all__ = ["FeedbackRequest", "FeedbackStage", "Record"]

"""What is remembered of a request."""

from .feedback import FeedbackRequest, FeedbackStage
from .meter import Record
from .tally import Tally

__all__ = ["FeedbackRequest", "FeedbackStage", "Record", "Tally"]

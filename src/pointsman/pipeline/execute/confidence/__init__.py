"""How likely an answer is good, told from the answer itself: what a cascade escalates by.

Evidence is read from the text, the tool calls and the tokens' log-probabilities, as they come. A logistic model that
was fitted to answers that were executed (`pointsman eval confidence`) makes a probability of it.
"""

from .model import Confidence, Model, parse_model, threshold_for
from .verifier import Verifier, load

__all__ = ["Confidence", "Model", "Verifier", "load", "parse_model", "threshold_for"]

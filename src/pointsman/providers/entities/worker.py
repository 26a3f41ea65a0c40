"""The process that runs the model: a JSON list of texts a line in, a JSON list of lists of names a line out.

Run as a script, with the model's folder as its argument. It imports nothing of Pointsman, so that it can run in any
Python that has spaCy, and ends when its input does.
"""

import json
import sys
from pathlib import Path

UNUSED = ["tok2vec", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer"]
"""Parts of the pipeline that finding names does not need."""
LABEL = "PERSON"


def main() -> None:
    from spacy.util import load_model_from_path

    # The model's own meta.json is not read: the re-uploaded wheel has another than the official one.
    meta = {"lang": "en", "name": "core_web_sm", "version": "3.8.0"}
    nlp = load_model_from_path(Path(sys.argv[1]), meta=meta, exclude=UNUSED)
    out = sys.stdout
    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        found = [[span.text for span in doc.ents if span.label_ == LABEL] for doc in nlp.pipe(json.loads(line))]
        out.write(json.dumps(found) + "\n")
        out.flush()


if __name__ == "__main__":
    main()

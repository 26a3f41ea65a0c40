"""How good sentence vectors are: a table against the encoder that it was distilled from, and against TF-IDF."""

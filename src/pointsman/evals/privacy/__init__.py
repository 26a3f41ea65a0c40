"""How well private content is detected: a labelled set that is made from templates, and its figures."""

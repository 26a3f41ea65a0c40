"""The named-entity model of the extra `entities`: data from the package index, run in a process of its own."""

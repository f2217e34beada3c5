"""The annotated spec as a static site, which ``python -m tutorials.site`` builds.

Nothing is run or fetched. Everything is read from the checkout: docstrings and sources by their
syntax trees, the index of the papers by ``minisn.paper``, the notebooks as they are committed.
"""

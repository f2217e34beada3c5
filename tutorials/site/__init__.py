"""The annotated spec as a static site, which ``python -m tutorials.site`` builds.

The build runs and fetches nothing. It reads the checkout: docstrings and sources from their syntax
trees, the index of the papers through ``minisn.paper``, and the notebooks as committed.
"""

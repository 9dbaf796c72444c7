"""The samples' way in: fetch -> readers -> groups -> split -> audit.

Nothing here decodes an image; what a decoder found comes in as `schema.findings.ImageFacts`.
"""

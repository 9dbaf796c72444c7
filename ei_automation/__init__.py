"""eiauto: from a manifest to a tested, deployable Edge Impulse vision model.

The rooms, in the order in which data flows: `schema` (nouns), `dataset`, `dsp`, `trainer`, `inference`,
`deployment`, `backends`, `workflow` (verbs), `web`, `cli`.
"""

__version__ = "0.1.0"
